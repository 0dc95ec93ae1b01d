"""Models with the layers: made in each of Keras's ways, trained, saved, exported, compiled."""

import contextlib
import io
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from back_end import NAME, array
from keras import ops
from programs import NETWORK, POOLINGS
from sklearn.datasets import load_digits

import poolkit as pk
from poolkit.keras import layers

IMPORTS = {
    "from keras.layers import MaxPooling2D": "from poolkit.keras.layers import MaxPooling2D",
    "from keras import layers": "from poolkit.keras import layers",
}


def printed(program):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        exec(compile(program, "program", "exec"), {})
    return text.getvalue()


@pytest.mark.parametrize("program", [POOLINGS, NETWORK], ids=["poolings", "network"])
def test_a_program_prints_the_same_with_another_import(program):
    changed = program
    for line, instead in IMPORTS.items():
        changed = changed.replace(line, instead)
    assert sum(one != other for one, other in zip(program.split("\n"), changed.split("\n"), strict=True)) == 1
    theirs, mine = printed(program), printed(changed)
    assert len(theirs.splitlines()) > 5
    if program is POOLINGS:
        # Means are sums in another order: the last digit of a float32.
        pairs = list(zip(theirs.splitlines(), mine.splitlines(), strict=True))
        for one, other in pairs:
            if one.startswith("["):
                np.testing.assert_allclose(eval(other), eval(one), rtol=3e-7)
            else:
                assert one == other
        assert [pair for i, pair in enumerate(pairs) if i % 20 < 2 and pair[0] != pair[1]] == []
    else:
        assert theirs == mine


def digits():
    x, y = load_digits(return_X_y=True)
    keep = slice(0, 480)
    return (x[keep].reshape(-1, 8, 8, 1) / 16).astype("float32"), y[keep]


def network(pooling, last="flatten"):
    """The convolutional network of Keras's MNIST example, for 8 x 8 images."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            pooling(),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            pooling(),
            layers.Flatten() if last == "flatten" else last,
            layers.Dropout(0.2, seed=0),
            layers.Dense(10, activation="softmax"),
        ]
    )


TRAINED = {
    "MaxPooling2D": lambda: layers.MaxPooling2D(2),
    "MinPooling2D": lambda: layers.MinPooling2D(2),
    "LpPooling2D": lambda: layers.LpPooling2D(2),
    "SoftPooling2D": lambda: layers.SoftPooling2D(2),
    "LogSumExpPooling2D": lambda: layers.LogSumExpPooling2D(2),
    "GeMPooling2D": lambda: layers.GeMPooling2D(2, per_channel=True),
    "MedianPooling2D": lambda: layers.MedianPooling2D(2),
    "StochasticPooling2D": lambda: layers.StochasticPooling2D(2, seed=1),
    "MixedPooling2D": lambda: layers.MixedPooling2D(2, weight="channel"),
    "GatedPooling2D": lambda: layers.GatedPooling2D(2),
    "MaxBlurPooling2D": lambda: layers.MaxBlurPooling2D(2),
    "FractionalMaxPooling2D": lambda: layers.FractionalMaxPooling2D(2, output_ratio=0.6, seed=1),
    "AdaPooling2D": lambda: layers.AdaPooling2D(2),
    "Pooling2D": lambda: layers.Pooling2D(pk.Sliding(3, 2, "same"), pk.TopKMean(2)),
}
# Each takes seconds; their formulas are the same wherever they train, and every one trains somewhere.
CHOSEN = {
    "tensorflow": ("MaxPooling2D", "GeMPooling2D", "MixedPooling2D", "FractionalMaxPooling2D"),
    "jax": ("StochasticPooling2D", "GatedPooling2D", "MaxBlurPooling2D"),
    "torch": (
        "MaxPooling2D",
        "MinPooling2D",
        "LpPooling2D",
        "SoftPooling2D",
        "LogSumExpPooling2D",
        "MedianPooling2D",
        "StochasticPooling2D",
        "AdaPooling2D",
        "Pooling2D",
    ),
}


def test_every_layer_trains_somewhere():
    assert set().union(*CHOSEN.values()) == set(TRAINED)


@pytest.mark.parametrize("name", CHOSEN[NAME])
def test_a_small_network_learns(name, tmp_path):
    keras.utils.set_random_seed(0)
    x, y = digits()
    model = network(TRAINED[name])
    model.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(1e-2))
    losses = model.fit(x, y, batch_size=24, epochs=2, verbose=0).history["loss"]
    assert losses[1] < 0.98 * losses[0], losses
    before = [weight.numpy() for weight in model.trainable_weights]
    assert all(np.isfinite(one).all() for one in before)
    if name in ("GeMPooling2D", "MixedPooling2D"):  # what it learns has left where it began
        assert any(
            (one != one.ravel()[0]).any()
            for layer in model.layers
            if type(layer).__name__ == name
            for one in layer.get_weights()
        )
    if name == "FractionalMaxPooling2D":  # it draws in every call
        return
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.saving.load_model(path)
    np.testing.assert_allclose(again.predict(x[:8], verbose=0), model.predict(x[:8], verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", ["attention", "pyramid", "routing"])
def test_what_is_no_window_learns_too(last):
    if NAME == "jax" and last != "attention":
        return
    keras.utils.set_random_seed(0)
    x, y = digits()
    end = {
        "attention": lambda: layers.AttentionPooling2D(4, feat_size=2, output_dim=32),
        "pyramid": lambda: layers.SpatialPyramidPooling2D((1, 2)),
        "routing": lambda: keras.Sequential([layers.Reshape((8, 8)), layers.CapsuleRouting(6, 8), layers.Flatten()]),
    }[last]
    model = network(lambda: layers.MaxPooling2D(2), end())
    model.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(1e-2))
    losses = model.fit(x, y, batch_size=24, epochs=2, verbose=0).history["loss"]
    assert losses[1] < 0.98 * losses[0], losses


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.pool = layers.MaxPooling2D(2, return_indices=True)
        self.back = layers.MaxUnpooling2D(2)
        self.head = layers.GlobalSoftPooling2D()

    def call(self, x):
        return self.head(self.back(self.pool(x)))


def test_subclassed_and_functional_models_of_any_size():
    x = np.random.default_rng(0).random((3, 6, 4, 2)).astype("float32")
    direct = array(Subclassed()(x))
    assert direct.shape == (3, 2)
    np.testing.assert_allclose(Subclassed().predict(x, verbose=0), direct, rtol=1e-6)
    inputs = keras.Input((None, None, 2))
    y = layers.MaxPooling2D(2)(inputs)
    assert y.shape == (None, None, None, 2)
    assert layers.AdaptiveAveragePooling2D(3)(y).shape == (None, 3, 3, 2)
    model = keras.Model(inputs, layers.GlobalMaxPooling2D()(y))
    for size in (6, 9, 6):
        image = np.random.default_rng(size).random((2, size, 7, 2)).astype("float32")
        np.testing.assert_array_equal(array(model(image)), image[:, : size // 2 * 2, :6].max((1, 2)))


def test_jit_compile():
    keras.utils.set_random_seed(0)
    x, y = digits()
    model = network(lambda: layers.SoftPooling2D(2))
    optimizer = keras.optimizers.Adam(1e-2)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, jit_compile=NAME != "torch")
    losses = model.fit(x, y, batch_size=24, epochs=2, verbose=0).history["loss"]
    assert losses[1] < 0.98 * losses[0]


def exported(tmp_path):
    x, _ = digits()
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same"),
            layers.MaxPooling2D(3, 2, "same"),
            layers.GeMPooling2D(2),
            layers.MedianPooling2D(2, 1, "same"),
            layers.GlobalLogSumExpPooling2D(),
        ]
    )
    return model, x[:2], str(tmp_path / "exported")


@pytest.mark.skipif(NAME == "torch", reason="Keras exports SavedModels of torch models with torch_xla alone")
def test_a_saved_model_runs_without_poolkit(tmp_path):
    model, x, path = exported(tmp_path)
    wanted = model.predict(x, verbose=0)
    model.export(path, verbose=False)
    np.save(tmp_path / "x.npy", x)
    code = f"""
        import numpy as np, sys, tensorflow as tf
        loaded = tf.saved_model.load({path!r})
        y = loaded.serve(np.load({str(tmp_path / "x.npy")!r}))
        assert "poolkit" not in sys.modules
        np.save({str(tmp_path / "y.npy")!r}, y)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=200)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning" if NAME == "torch" else "default")
@pytest.mark.skipif(NAME != "torch", reason="Keras exports ONNX of the other back ends by tf2onnx, which needs NumPy 1")
def test_an_onnx_file_runs_without_poolkit(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript", reason="torch exports by it")
    model, x, path = exported(tmp_path)
    wanted = model.predict(x, verbose=0)
    model.export(path + ".onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path + ".onnx")
    y = np.concatenate([session.run(None, {session.get_inputs()[0].name: one[None]})[0] for one in x])
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


def test_graphs_of_unknown_sizes(tmp_path):
    if NAME != "tensorflow":
        return
    import tensorflow as tf

    spec = tf.TensorSpec((None, None, None, 2), tf.float32)
    x = np.random.default_rng(0).random((1, 5, 4, 2)).astype("float32")
    whole = tf.function(layers.GlobalMaxPooling2D().call, input_signature=[spec])
    np.testing.assert_array_equal(whole(x), x.max((1, 2)))
    mean = tf.function(layers.GlobalLpPooling2D(p=3).call, input_signature=[spec])
    np.testing.assert_allclose(mean(x), (x.astype(np.float64) ** 3).sum((1, 2)) ** (1 / 3), rtol=1e-5)
    for layer in (
        layers.MaxPooling2D(3, 2, "same"),
        layers.AveragePooling2D(2, 1),
        layers.SoftPooling2D(2),
        layers.MedianPooling2D(3, 1, "same"),
        layers.AdaptiveMaxPooling2D(3),
        layers.AdaptiveLpPooling2D(2, p=3),
    ):
        part = tf.function(layer.call, input_signature=[spec])
        for size in (5, 8):
            x = np.random.default_rng(size).random((2, size, 4, 2)).astype("float32")
            np.testing.assert_allclose(part(x), array(layer(x)), rtol=1e-6, err_msg=layer.name)
    model = keras.Sequential([keras.Input((None, None, 2)), layers.SoftPooling2D()])
    with pytest.raises(Exception, match="the pooled sizes are known when a graph is exported"):
        model.export(str(tmp_path / "model"), verbose=False)


def test_gradients_reach_what_is_learned():
    layer = layers.GatedPooling1D(2)
    x = np.random.default_rng(0).random((2, 8, 3)).astype("float32")
    model = keras.Sequential([keras.Input((8, 3)), layer, layers.GlobalAveragePooling1D()])
    model.compile("sgd", "mse")
    model.fit(x, np.ones((2, 3), "float32"), epochs=1, verbose=0)
    assert np.abs(array(ops.convert_to_tensor(layer.gate))).min() > 0
