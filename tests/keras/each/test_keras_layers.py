"""The layers: Keras's own values where Keras has them, else the oracle's; shapes, configurations, masks, errors."""

import inspect
import json

import keras
import numpy as np
import pytest
from back_end import NAME, array, compiled, first, own
from keras import ops
from support import TOLERANCE, assert_close

import poolkit as pk
from poolkit.keras import keras_ops_only, layers
from poolkit.reference import antialias, attention, mixed, pyramid, weighted

CLOSE = 4 * TOLERANCE["float32"]
RNG = np.random.default_rng(11)
NEEDS = {
    "QuantilePooling": {"q": 0.7},
    "TopKMeanPooling": {"k": 2},
    "OrdinalPooling": {"weights": (0.7, 0.3)},
    "Adaptive": {"output_size": 3},
    "Fractional": {"pool_size": 2, "output_ratio": 0.7},
    "AttentionPooling": {"num_heads": 2, "feat_size": 3},
    "CapsuleRouting": {"out_capsules": 3, "out_features": 2},
}


def made(name, **more):
    kind = getattr(layers, name)
    options = next((options for start, options in NEEDS.items() if name.startswith(start)), {})
    if name.startswith("Pooling"):
        options = {"window": pk.Sliding(2), "reducer": pk.Lp(3)}
    return kind(**options, **more)


def input_of(name, batch=2, channels=4):
    if name == "CapsuleRouting":
        return RNG.normal(size=(batch, 6, channels)).astype("float32")
    x = RNG.normal(size=(batch, *(7, 8, 6)[: int(name[-2])], channels)).astype("float32")
    if name.startswith("MaxUnpooling"):
        indices = np.broadcast_to(np.arange(np.prod(x.shape[1:-1])).reshape(1, *x.shape[1:-1], 1), x.shape)
        return x, indices.astype("int32")
    return x


def shapes(x):
    return keras.tree.map_structure(lambda one: tuple(one.shape), x)


CLASSES = sorted({getattr(layers, name).__name__ for name in layers.__all__})


def test_all_of_keras_poolings_are_there():
    theirs = [name for name in dir(keras.layers) if "Pool" in name]
    assert len(theirs) >= 30
    assert set(theirs) <= set(layers.__all__)
    assert layers.Conv2D is keras.layers.Conv2D
    with pytest.raises(AttributeError, match=r"nor has keras\.layers"):
        _ = layers.MaxPooling4D


@pytest.mark.parametrize("names", [CLASSES[i::8] for i in range(8)], ids=lambda names: names[0])
def test_shapes_and_configurations(names):
    for name in [name for name in names if NAME != "jax" or not name.endswith(("1D", "3D"))]:
        layer, x = made(name), input_of(name)
        y = layer(x)
        assert layer.compute_output_shape(shapes(x)) == shapes(y), name
        spec = keras.tree.map_structure(lambda one: keras.KerasTensor(one.shape, dtype=str(one.dtype)), x)
        out = made(name)(spec)
        assert shapes(out) == shapes(y), name
        assert keras.tree.map_structure(lambda one: one.dtype, out) == keras.tree.map_structure(
            lambda one: keras.backend.standardize_dtype(one.dtype), y
        ), name
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        assert config["registered_name"] == f"poolkit>{name}"
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is type(layer)
        own_config, other = layer.get_config(), again.get_config()
        assert json.dumps(own_config) == json.dumps(other), name
        # The channels may be known to the layer alone.
        if not isinstance(x, tuple) and name not in ("AttentionPooling2D", "CapsuleRouting"):
            unknown = layer.compute_output_shape((None, *[None] * (x.ndim - 2), x.shape[-1]))
            assert len(unknown) == len(shapes(y)), name
            assert all(one in (None, other) for one, other in zip(unknown, shapes(y), strict=True)), name
        assert layer.__doc__, name


def test_signatures_are_those_of_keras():
    for name in [name for name in dir(keras.layers) if "Pool" in name]:
        theirs = list(inspect.signature(getattr(keras.layers, name)).parameters.values())
        mine = inspect.signature(getattr(layers, name)).parameters
        for one in theirs:
            if one.kind is one.POSITIONAL_OR_KEYWORD:
                assert one.name in mine, (name, one.name)
        plain = [one.name for one in theirs if one.kind is one.POSITIONAL_OR_KEYWORD]
        assert list(mine)[: len(plain)] == plain, name


WINDOWS = [
    {"pool_size": 2},
    {"pool_size": 3, "strides": 2, "padding": "same"},
    {"pool_size": 3, "strides": 1, "padding": "VALID"},
    {"pool_size": 2, "strides": 3, "padding": "same"},
]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("rank", [1, 2, 3] if NAME != "jax" else [2])
def test_the_values_of_keras(rank, data_format):
    x = own(RNG.normal(size=(2, 3, *(8, 7, 6)[:rank])).astype("float32"), data_format == "channels_last")
    for kind in ("Max", "Average"):
        for window in WINDOWS if NAME != "jax" else WINDOWS[:2]:
            options = {**window, "data_format": data_format}
            theirs = {**options, "padding": options.get("padding", "valid").lower()}
            same(getattr(keras.layers, f"{kind}Pooling{rank}D")(**theirs), f"{kind}Pooling{rank}D", options, x)
        for keepdims in (False, True):
            options = {"keepdims": keepdims, "data_format": data_format}
            same(
                getattr(keras.layers, f"Global{kind}Pooling{rank}D")(**options),
                f"Global{kind}Pooling{rank}D",
                options,
                x,
            )
        for size in ((3, 5, 2)[:rank], (4, 2, 3)[:rank]):
            options = {"output_size": size if rank > 1 else size[0], "data_format": data_format}
            name = f"Adaptive{kind}Pooling{rank}D"
            same(getattr(keras.layers, name)(**options), name, options, x)


def same(theirs, name, options, x):
    mine = getattr(layers, name)(**options)
    y, wanted = array(mine(x)), array(theirs(x))
    if NAME == "torch" and "Average" in name and options.get("padding") == "same":
        wanted = mine_in_numpy(options, x)  # there Keras pads with copies of the edge, and counts them
    with keras_ops_only():
        other = array(compiled(mine.call)(ops.convert_to_tensor(x)))
    for found in (y, other):
        if "Max" in name:
            np.testing.assert_array_equal(found, wanted, err_msg=f"{name} {options}")
        else:
            np.testing.assert_allclose(found, wanted, rtol=3e-6, atol=3e-7, err_msg=f"{name} {options}")
    assert mine.compute_output_shape(x.shape) == tuple(theirs.compute_output_shape(x.shape)) == y.shape
    config = theirs.get_config()
    assert set(config) <= set(mine.get_config()), name


def mine_in_numpy(options, x):
    window = pk.Sliding(options["pool_size"], options.get("strides"), "same")
    y = pk.pool(first(x, options["data_format"] == "channels_last").astype(np.float64), window, pk.Mean())
    return own(y, options["data_format"] == "channels_last").astype("float32")


def learned(name, x, values, **options):
    """The layer's result with these values as its weights."""
    layer = getattr(layers, name)(data_format="channels_first", **options)
    layer.build(x.shape)
    layer.set_weights(values)
    with keras_ops_only():
        found = array(compiled(layer.call)(ops.convert_to_tensor(x.astype("float32"))))
    np.testing.assert_allclose(array(layer(x.astype("float32"))), found, rtol=1e-5, atol=1e-6)
    return found


def test_learned_layers_against_the_oracle():
    x = RNG.normal(size=(2, 3, 5, 6))
    geometry = {"stride": 2, "padding": 1}
    window = {"pool_size": 3, "strides": 2, "padding": 1}
    weight = RNG.random(3)
    y = learned("MixedPooling2D", x, [weight], weight="channel", **window)
    assert_close(y, mixed.mixed_pool(x, weight, (3, 3), **geometry), CLOSE, 1.0)
    grid = RNG.random((2, 4))
    y = learned("MixedPooling2D", x, [grid], weight="region", regions=(2, 4), **window)
    assert_close(y, mixed.mixed_pool(x, grid[None], (3, 3), **geometry), CLOSE, 1.0)
    gate = RNG.normal(size=(3, 3, 3))
    y = learned("GatedPooling2D", x, [gate], per_channel=True, **window)
    assert_close(y, mixed.gated_pool(x, gate, **geometry), CLOSE, 1.0)
    p = np.array([0.5, 2.0, 3.5])
    y = learned("GeMPooling2D", x, [p], per_channel=True)
    assert_close(y, weighted.gem_pool(x, p, None), 4 * CLOSE, 1.0)
    beta = np.array([-1.5])
    y = learned("BoltzmannPooling2D", x, [beta], **window)
    assert_close(y, weighted.boltzmann_pool(x, beta, (3, 3), **geometry), CLOSE, 1.0)
    share = np.array([0.25])
    y = learned("AdaPooling2D", x, [share], weighting="idw", eps=0.01, **window)
    wanted = weighted.ada_pool(x, share, (3, 3), weighting="idw", eps=0.01, **geometry)
    assert_close(y, wanted, CLOSE, 1.0)


def test_composite_layers_against_the_oracle():
    x = RNG.normal(size=(2, 4, 6, 5))
    last = np.moveaxis(x, 1, -1).astype("float32")
    for padding, convention in (
        ("reflect", "timm"),
        ("zeros", "kornia"),
        ("circular", "adobe"),
        ("replicate", "adobe"),
    ):
        y = array(layers.BlurPooling2D(4, (2, 1), padding, "channels_last", convention=convention)(last))
        wanted = antialias.blur_pool(x, (4, 4), (2, 1), padding, convention)
        assert_close(np.moveaxis(y, -1, 1), wanted, CLOSE, 1.0)
    y = array(layers.MaxBlurPooling2D(3, 2, 3, max_padding=1)(last))
    wanted = antialias.max_blur_pool(x, (3, 3), (3, 3), 1, stride=(2, 2), padding="reflect")
    assert_close(np.moveaxis(y, -1, 1), wanted, CLOSE, 1.0)
    for flatten in (True, False):
        levels = (1, 2, (4, 3))
        y = array(
            layers.SpatialPyramidPooling2D(levels, flatten=flatten, data_format="channels_first")(x.astype("float32"))
        )
        wanted = pyramid.spatial_pyramid_pool(x, ((1, 1), (2, 2), (4, 3)), "max", flatten)
        np.testing.assert_array_equal(y, wanted.astype("float32"))
        other = array(layers.SpatialPyramidPooling2D(levels, flatten=flatten, data_format="channels_last")(last))
        np.testing.assert_array_equal(other if flatten else np.moveaxis(other, -1, 1), y)


def test_attention_and_routing_against_the_oracle():
    x = RNG.normal(size=(2, 4, 5, 6))
    layer = layers.AttentionPooling2D(2, (3, 4), output_dim=3, data_format="channels_first")
    layer.build(x.shape)
    layer.set_weights([RNG.normal(size=one.shape) for one in layer.get_weights()])
    weights = [one.astype(np.float64) for one in layer.get_weights()]
    positions, kernels, biases = weights[0], weights[1:5], weights[5:]
    linear = [(kernel.T, bias) for kernel, bias in zip(kernels, biases, strict=True)]
    wanted = attention.attention_pool2d(x, positions, (3, 4), *linear, 2)
    assert_close(array(layer(x.astype("float32"))), wanted, 2e-5, 1.0)
    capsules = RNG.normal(size=(2, 5, 3))
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
    routing = layers.CapsuleRouting(4, 2, num_iterations=3)
    routing.build(capsules.shape)
    kernel = routing.get_weights()[0].astype(np.float64)
    y = array(routing(capsules.astype("float32"), mask=ops.convert_to_tensor(mask)))
    assert_close(y, attention.capsule_routing(capsules, mask, kernel), CLOSE, 1.0)


def test_unpooling_puts_maxima_back():
    x = RNG.permutation(60).reshape(1, 6, 5, 2).astype("float32")
    y, places = layers.MaxPooling2D(return_indices=True)(x)
    back = array(layers.MaxUnpooling2D(output_size=(6, 5))((y, places)))
    assert back.shape == x.shape
    kept = np.isin(x, array(y))
    np.testing.assert_array_equal(back, np.where(kept, x, 0))
    same, where = layers.MaxPooling2D(3, 2, "same", return_indices=True)(x)
    assert array(layers.MaxUnpooling2D(3, 2, "same")((same, where))).shape == (1, 6, 6, 2)
    values = np.array([1.0, 2.0, 3.0], "float32").reshape(1, 3, 1)
    twice = np.array([1, 1, 0], "int32").reshape(1, 3, 1)
    assert array(layers.MaxUnpooling1D()((values, twice))).ravel().tolist() == [3.0, 2.0, 0, 0, 0, 0]
    with pytest.raises(pk.PoolError, match="output_size is less than a stride away"):
        layers.MaxUnpooling1D(output_size=9)((values, twice))
    with pytest.raises(pk.PoolTypeError, match="indices are integers"):
        layers.MaxUnpooling1D()((values, values))


@pytest.mark.parametrize(
    "name", ["GlobalAveragePooling1D", "GlobalMaxPooling1D", "GlobalLpPooling1D", "GlobalSumPooling1D"]
)
def test_masked_steps_do_not_count(name):
    x = RNG.normal(size=(3, 5, 2)).astype("float32")
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
    x[0, 2] = np.nan
    layer = getattr(layers, name)()
    y = array(layer(x, mask=ops.convert_to_tensor(mask)))
    for row in range(2):
        alone = array(layer(x[row : row + 1, mask[row]]))[0]
        np.testing.assert_allclose(y[row], alone, rtol=1e-6)
    assert y[2].tolist() == [0.0, 0.0]  # Keras's average has 0 / 0 here
    assert layer.compute_mask(x, mask) is None
    if name == "GlobalAveragePooling1D":
        theirs = array(keras.layers.GlobalAveragePooling1D()(x[:2], mask=ops.convert_to_tensor(mask[:2])))
        np.testing.assert_allclose(y[:2], theirs, rtol=1e-6)


def test_masks_reach_the_pooling_from_an_embedding():
    tokens = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    model = keras.Sequential([keras.Input((4,)), layers.Embedding(5, 3, mask_zero=True), layers.GlobalMaxPooling1D()])
    rows = array(model.layers[0](tokens))
    wanted = [rows[0, :2].max(0), rows[1, 0]]
    np.testing.assert_allclose(array(model(tokens)), wanted, rtol=1e-6)


def test_random_layers_draw_in_training_alone_and_by_their_seed():
    x = RNG.random((2, 8, 3)).astype("float32")
    for name in ("StochasticPooling1D", "RankStochasticPooling1D", "MaxDropPooling1D"):
        layer, twin = getattr(layers, name)(4, seed=3), getattr(layers, name)(4, seed=3)
        one, other = array(layer(x, training=True)), array(layer(x, training=True))
        assert (one != other).any()
        np.testing.assert_array_equal(one, array(twin(x, training=True)))
        np.testing.assert_array_equal(array(layer(x)), array(layer(x)))
        assert np.isin(one, [0, *x.ravel()]).all()
    with pytest.raises(pk.PoolTypeError, match="seed is an int"):
        layers.StochasticPooling1D(seed="x")
    layer = layers.Pooling1D(pk.Sliding(4), pk.Stochastic(), seed=3)
    np.testing.assert_array_equal(array(layer(x)), array(layers.StochasticPooling1D(4)(x)))


def test_mixed_precision_computes_in_half_and_learns_in_float32():
    layer = layers.GeMPooling1D(2, dtype="mixed_float16")
    y = layer(np.full((1, 4, 1), 60.0, "float32"))  # 60^3 is no float16
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    assert keras.backend.standardize_dtype(layer.values.dtype) == "float32"
    np.testing.assert_allclose(array(ops.cast(y, "float32")).ravel(), 60.0, rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: layers.MaxPooling2D(0), "pool_size >= 1"),
        (lambda: layers.MaxPooling2D(2.5), "pool_size counts cells"),
        (lambda: layers.MaxPooling2D((2, 2, 2)), "pool_size holds one value"),
        (lambda: layers.MaxPooling2D(2, 0), "strides >= 1"),
        (lambda: layers.MaxPooling2D(2, padding="full"), "padding as a word"),
        (lambda: layers.MaxPooling2D(2, data_format="NCHW"), "data_format is"),
        (lambda: layers.MaxPooling2D(2, dilation_rate=0), "dilation_rate >= 1"),
        (lambda: layers.MaxPooling2D(2, padding="same", ceil_mode=True), "ceil_mode is False"),
        (lambda: layers.LpPooling2D(p=0), "p is a number > 0"),
        (lambda: layers.QuantilePooling2D(q=2), "q lies in"),
        (lambda: layers.AdaptiveMaxPooling2D((2, 2, 2)), "output_size holds one value"),
        (lambda: layers.AdaptiveMaxPooling2D(0), "output_size >= 1"),
        (lambda: layers.FractionalMaxPooling2D(2), "exactly one of"),
        (lambda: layers.MixedPooling2D(weight="pixel"), "weight is one of"),
        (lambda: layers.MixedPooling2D(weight="region"), "regions is given"),
        (lambda: layers.GeMPooling2D(p=0), "p is a finite number"),
        (lambda: layers.GeMPooling2D(strides=2), "which has no strides"),
        (lambda: layers.BlurPooling2D(padding="mirror"), "padding is one of"),
        (lambda: layers.SpatialPyramidPooling2D(()), "levels is a tuple"),
        (lambda: layers.AttentionPooling2D(3)(np.zeros((1, 4, 4, 4))), "num_heads divides"),
        (lambda: layers.CapsuleRouting(2, 2)(np.zeros((1, 4))), "in_capsules, in_features"),
        (lambda: layers.Pooling2D(pk.Sliding((2,)), pk.Max()), "expected 2"),
        (lambda: layers.MaxPooling2D(5)(np.zeros((1, 4, 4, 1))), "pool_size of at most 4"),
        (lambda: layers.MaxPooling2D()(keras.Input((4, 4))), "2-D pooling takes a batch"),
        (lambda: layers.SoftPooling2D()(np.zeros((1, 4, 4, 1), "int32")), "Soft takes floats"),
        (lambda: layers.BlurPooling2D()(np.zeros((1, 1, 4, 1))), "reflect padding takes"),
    ],
)
def test_bad_arguments_are_reported_at_once(make, names):
    with pytest.raises(pk.PoolError, match=names):
        make()


def test_a_missing_argument_is_a_type_error():
    with pytest.raises(TypeError, match="QuantilePooling2D: missing a required"):
        layers.QuantilePooling2D(2)
    with pytest.raises((TypeError, ValueError), match="pool_sise"):
        layers.MaxPooling2D(pool_sise=3)
