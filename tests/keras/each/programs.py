"""Programs as Keras's users write them; the tests change their import alone."""

POOLINGS = """
import numpy as np
from keras.models import Sequential
from keras.layers import MaxPooling2D, AveragePooling2D, GlobalMaxPooling2D, GlobalAveragePooling2D

image = np.array([[2, 2, 7, 3], [9, 4, 6, 1], [8, 5, 2, 4], [3, 1, 2, 6]], dtype="float32")
image = image.reshape(1, 4, 4, 1)
batch = np.random.default_rng(0).random((2, 8, 6, 3)).astype("float32")

for layer in (
    MaxPooling2D(pool_size=2, strides=2),
    AveragePooling2D(pool_size=2, strides=2),
    MaxPooling2D(pool_size=(3, 2), strides=1, padding="same"),
    GlobalMaxPooling2D(),
    GlobalAveragePooling2D(),
):
    model = Sequential([layer])
    for x in (image, batch):
        output = model.predict(x, verbose=0)
        print(type(layer).__name__, output.shape)
        print(np.squeeze(output).tolist())
"""

NETWORK = """
import numpy as np
import keras
from keras import layers

keras.utils.clear_session()
keras.utils.set_random_seed(1)
x = np.random.default_rng(1).random((16, 12, 12, 1)).astype("float32")
y = (x.mean((1, 2, 3)) > 0.5).astype("int32")
model = keras.Sequential(
    [
        keras.Input((12, 12, 1)),
        layers.Conv2D(4, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(6, 2, activation="relu"),
        layers.AveragePooling2D(2),
        layers.GlobalMaxPooling2D(),
        layers.Dense(2, activation="softmax"),
    ]
)
model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd", jit_compile=False)
history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
for layer in model.layers:
    print(layer.name, layer.output.shape)
print([f"{loss:.5f}" for loss in history.history["loss"]])
print([f"{value:.4f}" for value in np.ravel(model.predict(x[:3], verbose=0))])
"""
