"""The oracle against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import poolkit as pk
from poolkit import reference

INF, NAN = math.inf, math.nan


def pool(values, window, reducer, dtype=np.float64):
    x = np.array(values, dtype)
    x = x.reshape(1, 1, *x.shape)
    return reference.forward(x, window.plan(x.shape[2:]), reducer)


@pytest.mark.parametrize(
    ("values", "window", "reducer", "wanted"),
    [
        ([1, 5, 2, 4], pk.Sliding(2), pk.Max(), [5, 4]),
        ([1, 5, 2, 4], pk.Sliding(2), pk.Min(), [1, 2]),
        ([1, 5, 2, 4], pk.Sliding(2), pk.Sum(), [6, 6]),
        ([1, 5, 2, 4], pk.Sliding(2, 1), pk.Mean(), [3, 3.5, 3]),
        ([1, 2], pk.Sliding(2, 1, 1, 2), pk.Max(), [2, 1]),
        ([1, 2, 3], pk.Sliding(3, 1, ((1, 0),)), pk.Mean(), [1, 2]),
        ([1, 2, 3, 4], pk.Sliding(3, 1, ((0, 2),)), pk.Mean(count_include_pad=False), [2, 3, 3.5, 4]),
        (range(1, 8), pk.Sliding(5, 4, ceil_mode=True), pk.Mean(count_include_pad=False), [3, 6]),
        (range(1, 8), pk.Sliding(5, 4, ceil_mode=True), pk.Mean(), [3, 6]),
        (range(10), pk.Adaptive(3), pk.Mean(), [1.5, 4.5, 7.5]),
        ([1, 2, 3], pk.Adaptive(5), pk.Mean(), [1, 1.5, 2, 2.5, 3]),
        ([3, -4, 0, 2], pk.Sliding(2), pk.Lp(2), [5, 2]),
        ([-1, -2, -3, 1, 2, 3], pk.Sliding(2), pk.Lp(1), [3, 4, 5]),
        ([-1, 4, 9, 16], pk.Sliding(2), pk.Lp(0.5), [9, 49]),
        ([3, -4, 0, 2], pk.Sliding(2), pk.Lp(INF), [4, 2]),
        ([1, 7, -3, 0], pk.Sliding(2), pk.PowerMean(2, 0.5), [5, 0.5]),
        ([1, -7, 3, 3], pk.Sliding(2), pk.RMS(), [5, 3]),
        ([0, math.log(3), 5, 5], pk.Sliding(2), pk.LogSumExp(), [math.log(2), 5]),
        ([0, math.log(3), 5, 5], pk.Sliding(2), pk.LogSumExp(mean=False), [math.log(4), 5 + math.log(2)]),
        ([0, math.log(3), 5, 5], pk.Sliding(2), pk.Soft(), [math.log(3) * 0.75, 5]),
        ([1, NAN, 3, 4], pk.Sliding(2), pk.Max(), [NAN, 4]),
        ([1, NAN, 3, 4], pk.Sliding(2), pk.Soft(), [NAN, 3 + 1 / (1 + math.exp(-1))]),
        ([INF, -INF, 1, INF], pk.Sliding(2), pk.Mean(), [NAN, INF]),
        ([1e30, 1e30], pk.Sliding(2), pk.Lp(2), [math.sqrt(2) * 1e30]),
        ([-INF, -INF, 0, -INF], pk.Sliding(2), pk.Soft(), [-INF, 0]),
    ],
)
def test_values(values, window, reducer, wanted):
    np.testing.assert_allclose(pool(list(values), window, reducer).values[0, 0], wanted, rtol=1e-15)


@pytest.mark.parametrize(
    ("values", "reducer", "wanted"),
    [
        ([1, 2, 3, 5], pk.Mean(), 3),  # 2.75
        ([1, 2, 2, 5], pk.Mean(), 2),  # 2.5, ties to even
        ([3, 3, 4, 4], pk.Mean(), 4),  # 3.5
        ([-1, -2, -2, -5], pk.Mean(), -2),  # -2.5
        ([255, 255, 255, 255], pk.Mean(), 255),
        ([1, 2, 3, 5], pk.Sum(), 11),
        ([1, 2, 3, 5], pk.Min(), 1),
    ],
)
def test_integers(values, reducer, wanted):
    x = np.array(values, np.int16)
    assert pool(x.tolist(), pk.Sliding(4), reducer, np.int16).values.item() == wanted


def test_indices_count_the_unpadded_plane():
    x = np.arange(12.0).reshape(3, 4)
    pooled = pool(x, pk.Sliding(2, 2, 1), pk.Max())
    assert pooled.indices[0, 0].tolist() == [[0, 2, 3], [8, 10, 11]]
    assert pool([2, 2, NAN, NAN], pk.Sliding(2), pk.Max()).indices.tolist() == [[[0, 2]]]
    assert pool([-INF, -INF], pk.Sliding(2), pk.Max()).indices.item() == 0


@pytest.mark.parametrize(
    ("values", "reducer", "wanted"),
    [
        ([1, 5], pk.Max(), [0, 1]),
        ([5, 5], pk.Max(), [1, 0]),
        ([1, 5], pk.Mean(), [0.5, 0.5]),
        ([3, -4], pk.Lp(2), [0.6, -0.8]),
        ([0, 0], pk.Lp(2), [0, 0]),
        ([3, -4], pk.Lp(INF), [0, -1]),
        ([0, 4], pk.Lp(0.5), [0, 1]),
        ([1, -7], pk.RMS(), [0.1, -0.7]),
        ([1, 7], pk.PowerMean(2, 0.5), [0.1, 0.7]),
        ([0, math.log(3)], pk.LogSumExp(), [0.25, 0.75]),
        ([2, 2], pk.Soft(), [0.5, 0.5]),
    ],
)
def test_gradients(values, reducer, wanted):
    x = np.array(values, np.float64).reshape(1, 1, -1)
    dx = reference.backward(x, np.ones((1, 1, 1)), pk.Global().plan((len(values),)), reducer)
    np.testing.assert_allclose(dx[0, 0], wanted, rtol=1e-14)


def test_the_oracle_knows_nothing_of_the_core():
    source = Path(reference.__file__).read_text()
    for shortcut in ("_core", "import arrays", "axis.count", "axis.start[", "axis.stop", "sliding_window"):
        assert shortcut not in source
