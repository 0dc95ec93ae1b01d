"""Pooling for Keras 3, on its TensorFlow, JAX and torch back ends: `poolkit.keras.layers`, and `pool`.

>>> import numpy as np
>>> from poolkit.keras import layers
>>> layers.MaxPooling2D()(np.zeros((2, 8, 8, 3), "float32")).shape == (2, 4, 4, 3)
True
"""

from poolkit.keras import layers
from poolkit.keras.functional import keras_ops_only, pool

__all__ = ["keras_ops_only", "layers", "pool"]
