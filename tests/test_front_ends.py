"""What no front end may do differently: the errors for bad arguments."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

import poolkit as pk


def torch_tensor(array):
    import torch

    return torch.from_numpy(np.array(array))


def jax_array(array):
    import jax.numpy as jnp

    return jnp.asarray(array)


# One line for each framework: how a NumPy array becomes one of its own.
ARRAYS = {"torch": torch_tensor, "jax": jax_array}
X = np.zeros((2, 3, 6, 7), np.float32)
TORCH = pk.Fractional(2, output_size=3)
TILES = pk.Fractional(output_size=3, style="tensorflow")
Y = np.zeros((1, 1, 2, 2), np.float32)
PLACES = np.zeros((1, 1, 2, 2), np.int32)


def placed(of, window, samples):
    return pk.pool(of(X), replace(window, random_samples=of(samples)), pk.Max())


# Each takes a function from NumPy arrays to the front end's.
BAD = {
    "window": lambda of: pk.pool(of(X), 2, pk.Max()),
    "reducer": lambda of: pk.pool(of(X), pk.Sliding(2), "max"),
    "reducer class": lambda of: pk.pool(of(X), pk.Sliding(2), pk.Max),
    "indices of a mean": lambda of: pk.pool(of(X), pk.Sliding(2), pk.Mean(), return_indices=True),
    "indices of mixed": lambda of: pk.pool(of(X), pk.Sliding(2), pk.Mixed(), return_indices=True),
    "data_format": lambda of: pk.pool(of(X), pk.Sliding(2), pk.Max(), data_format="NHWC"),
    "too few axes": lambda of: pk.pool(of(X[0, 0, 0]), pk.Sliding(2), pk.Max()),
    "too many axes": lambda of: pk.pool(of(X[None, None]), pk.Sliding(2), pk.Max()),
    "axes of a window": lambda of: pk.pool(of(X), pk.Sliding((2,)), pk.Max()),
    "axes of a function": lambda of: pk.max_pool1d(of(X), 2),
    "kernel too large": lambda of: pk.pool(of(X), pk.Sliding(9), pk.Max()),
    "kernel of 0": lambda of: pk.max_pool2d(of(X), 0),
    "kernel of 2.5": lambda of: pk.max_pool2d(of(X), 2.5),
    "kernel of True": lambda of: pk.max_pool2d(of(X), True),
    "three kernels": lambda of: pk.max_pool2d(of(X), (2, 2, 2)),
    "padding too large": lambda of: pk.max_pool2d(of(X), 2, padding=2),
    "stride of 0": lambda of: pk.avg_pool2d(of(X), 2, 0),
    "divisor of 0": lambda of: pk.avg_pool2d(of(X), 2, divisor_override=0),
    "norm of 0": lambda of: pk.lp_pool2d(of(X), 0, 2),
    "no channels": lambda of: pk.pool(of(X[:, :0]), pk.Sliding(2), pk.Max()),
    "no cells": lambda of: pk.pool(of(X[..., :0]), pk.Sliding(2), pk.Max()),
    "no cells of an empty batch": lambda of: pk.pool(of(X[:0, ..., :0]), pk.Sliding(2), pk.Max()),
    "bool": lambda of: pk.pool(of(X > 0), pk.Sliding(2), pk.Max()),
    "complex": lambda of: pk.pool(of(X.astype(np.complex64)), pk.Sliding(2), pk.Max()),
    "integers": lambda of: pk.pool(of(X.astype(np.int32)), pk.Sliding(2), pk.Soft()),
    "k too large": lambda of: pk.pool(of(X), pk.Sliding(2), pk.TopKMean(5)),
    "weights of a filter": lambda of: pk.pool(of(X), pk.Sliding(2), pk.Filter((1.0,))),
    "a filter's windows": lambda of: pk.pool(of(X), pk.Adaptive(3), pk.Filter((1.0,) * 4)),
    "negative seed": lambda of: pk.stochastic_pool2d(of(X), 2, seed=-1),
    "float seed": lambda of: pk.stochastic_pool2d(of(X), 2, seed=1.5),
    "windows that do not fit": lambda of: pk.pool(of(X), pk.Fractional(6, output_size=3), pk.Max(), seed=0),
    "ratio too small": lambda of: pk.pool(of(X), pk.Fractional(2, output_ratio=0.01), pk.Max(), seed=0),
    "samples' shape": lambda of: placed(of, TORCH, np.zeros((2, 3, 3), np.float32)),
    "samples' range": lambda of: placed(of, TORCH, np.ones((2, 3, 2), np.float32)),
    "samples' dtype": lambda of: placed(of, TORCH, np.zeros((2, 3, 2), np.int32)),
    "tiles' samples": lambda of: placed(of, TILES, np.zeros(5, np.float32)),
    "unpooled axes": lambda of: pk.max_unpool2d(of(Y[0, 0]), of(PLACES[0, 0]), 2),
    "unpooled size": lambda of: pk.max_unpool2d(of(Y), of(PLACES.astype(np.int64)), 2, output_size=(9, 9)),
    "unpooled kernel": lambda of: pk.max_unpool2d(of(Y), of(PLACES.astype(np.int64)), 0),
    "indices of floats": lambda of: pk.max_unpool2d(of(Y), of(Y), 2),
    "indices' shape": lambda of: pk.max_unpool2d(of(Y), of(PLACES[..., :1].astype(np.int64)), 2),
    "indices outside": lambda of: pk.max_unpool2d(of(Y), of(PLACES.astype(np.int64) + 99), 2),
}
# torch's operators and generators have words of their own.
OWN_WORDS = {"torch": set(BAD), "jax": {"float seed", "bool", "complex", "indices of floats"}}


def error_of(call, of):
    with pytest.raises(pk.PoolError) as caught:
        call(of)
    return caught.value


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype.*int64")
@pytest.mark.parametrize("name", BAD)
def test_every_front_end_refuses_the_same_with_the_same_kind_of_error(name):
    wanted = error_of(BAD[name], np.array)
    for framework, of in ARRAYS.items():
        if importlib.util.find_spec(framework) is None:
            continue
        error = error_of(BAD[name], of)
        assert type(error) is type(wanted), framework
        if name not in OWN_WORDS[framework]:
            assert (error.rule, error.do) == (wanted.rule, wanted.do), framework


@pytest.mark.parametrize("framework", ARRAYS)
def test_results_are_the_frameworks_own(framework):
    pytest.importorskip(framework)
    x = ARRAYS[framework](X)
    assert type(pk.pool(x, pk.Sliding(2), pk.Max())) is type(x)
    assert type(pk.median_pool2d(x, 2)) is type(x)
    assert type(pk.pool(x, pk.Global(keepdims=False), pk.Sum())) is type(x)
