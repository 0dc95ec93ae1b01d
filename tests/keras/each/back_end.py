"""What tests of every back end share: arrays in and out, compiled functions, gradients."""

import keras
import numpy as np
from keras import ops

NAME = keras.backend.backend()


def array(x):
    """A tensor, or a structure of them, as NumPy arrays."""
    return keras.tree.map_structure(lambda one: np.asarray(ops.convert_to_numpy(one)), x)


def compiled(function):
    """As JAX's users run it; operation by operation, JAX compiles each of them for itself, which takes seconds."""
    if NAME == "jax":
        import jax

        return jax.jit(function)
    return function


def gradient(function, x, grad):
    """The gradient of ``sum(grad * function(x))`` as an array."""
    if NAME == "tensorflow":
        import tensorflow as tf

        t = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(t)
            y = tf.reduce_sum(function(t) * tf.cast(grad, t.dtype))
        return np.asarray(tf.convert_to_tensor(tape.gradient(y, t)))
    if NAME == "jax":
        import jax

        return np.asarray(jax.jit(jax.grad(lambda t: (function(t) * grad.astype(x.dtype)).sum()))(x))
    import torch

    t = torch.tensor(x, requires_grad=True)
    (function(t) * torch.tensor(grad.astype(x.dtype))).sum().backward()
    return t.grad.numpy()


def first(x, last):
    """An array in the layout as one with the channels first."""
    return np.moveaxis(x, -1, 1) if last else x


def own(x, last):
    """An array with the channels first in the layout."""
    return np.moveaxis(x, 1, -1) if last else x


def layout(last):
    return "channels_last" if last else "channels_first"
