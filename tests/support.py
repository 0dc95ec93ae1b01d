"""What the tests share: reducers and windows to try, data that every dtype holds exactly, comparisons, processes."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

import poolkit as pk
from poolkit import arrays, reference
from poolkit.window import plan_for

BF16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int8", "uint8", "int16", "int32", "int64")

CHOOSING = [pk.Max(), pk.Min()]
ADDING = [
    pk.Sum(),
    pk.Mean(),
    pk.Mean(count_include_pad=False),
    pk.Mean(divisor=3),
]
SMOOTH = [
    pk.Lp(1),
    pk.Lp(2),
    pk.Lp(3.5),
    pk.Lp(0.5),
    pk.PowerMean(),
    pk.PowerMean(p=1.5, eps=0.25),
    pk.RMS(),
    pk.LogSumExp(),
    pk.LogSumExp(beta=-2.0, mean=False),
    pk.Soft(),
    pk.Soft(beta=-0.5),
]
RANKED = [
    pk.Median(),
    pk.Quantile(0.0, "nearest"),
    pk.Quantile(0.3, "higher"),
]
# On float data without ties, all of them have the derivative that finite differences find.
WHOLE = [
    pk.Median("midpoint"),
    pk.Quantile(0.3),
    pk.TopKMean(1),
    pk.TopKMean(0.4),
    pk.RankMean(0.3),
    pk.RankMean(0.5, normalize=False),
    pk.Ordinal((0.5, 0.3, -0.1, 0.2)),
    pk.Stochastic(sample=False),
    pk.Stochastic("softmax", 0.5, sample=False),
    pk.RankStochastic(0.4, sample=False),
    pk.MaxDrop(0.3, sample=False),
    pk.Mixed(0.3),
    pk.Var(),
    pk.Var(unbiased=True),
    pk.Std(),
    pk.Ada(),
    pk.Ada(0.8, "idw", 0.01),
    pk.Boltzmann(0.7),
    pk.Boltzmann(0.0),
    pk.GeM(),
    pk.GeM(1.5, eps=0.25),
]
DRAWN = [
    pk.Stochastic(),
    pk.Stochastic("softmax", 2.0),
    pk.RankStochastic(0.4),
    pk.MaxDrop(0.6),
]
REDUCERS = [*CHOOSING, *ADDING, pk.Lp(float("inf")), *SMOOTH, *RANKED, *WHOLE]
SEED = 7  # of everything random below


@dataclass(frozen=True)
class Case:
    """A window and the sizes it pools."""

    window: pk.Sliding | pk.Adaptive | pk.Fractional | pk.Global
    sizes: tuple[int, ...]

    def __str__(self):
        return f"{self.window}@{'x'.join(map(str, self.sizes))}".replace(" ", "")


S, A, F = pk.Sliding, pk.Adaptive, pk.Fractional
CASES = [
    Case(S(3), (10,)),
    Case(S(3, 1, 1), (9,)),
    Case(S(5, 2, 2), (17,)),
    Case(S(4, 1, ((3, 1),)), (8,)),
    Case(S(3, 2, 2, 2), (11,)),
    Case(S(2, 3, 0, 4), (16,)),
    Case(S(3, 2, 0, 1, True), (8,)),
    Case(S(4, 3, 2, 1, True), (9,)),
    Case(S(2, 2, 1, 2, True), (7,)),
    Case(S(1, 2, 0, 1, True), (6,)),
    Case(S(12, 1, "same"), (5,)),
    Case(S(2, 5), (12,)),
    Case(A(3), (10,)),
    Case(A(7), (3,)),
    Case(F(2, 5), (9,)),
    Case(F(output_size=5, style="tensorflow"), (13,)),
    Case(F(output_size=4, style="tensorflow", pseudo_random=True, overlapping=True), (11,)),
    Case(pk.Global(), (13,)),
    Case(S(2), (6, 8)),
    Case(S(3, 2, 1), (9, 10)),
    Case(S(3, 1, 1), (5, 17)),
    Case(S((2, 3), (1, 2), (1, 0), (2, 1)), (7, 9)),
    Case(S((3, 2), (2, 3), ((0, 2), (1, 0)), 1, False), (8, 7)),
    Case(S(3, 2, 1, 1, True), (6, 6)),
    Case(S(3, 2, "same"), (7, 8)),
    Case(S(4, 3, "same_lower", 2), (9, 8)),
    Case(S(5, 1, 2), (6, 6)),
    Case(A((2, 5)), (7, 8)),
    Case(A((None, 3)), (4, 4)),
    Case(F((2, 3), output_ratio=(0.6, 0.5)), (9, 10)),
    Case(F(pooling_ratio=(1.4, 2.7), style="tensorflow", overlapping=True), (9, 10)),
    Case(F(output_size=(3, 5), style="tensorflow", pseudo_random=True), (7, 5)),
    Case(pk.Global(), (5, 6)),
    Case(S(2), (4, 4, 6)),
    Case(S(3, 2, 1), (5, 4, 7)),
    Case(S((1, 2, 3), (2, 1, 2), (0, 1, 1), (1, 2, 1), True), (3, 5, 6)),
    Case(S(2, 1, "same"), (3, 4, 3)),
    Case(A((2, 3, 2)), (3, 4, 5)),
    Case(F(2, (2, 2, 3)), (4, 3, 5)),
    Case(F(pooling_ratio=1.5, style="tensorflow"), (4, 3, 5)),
    Case(pk.Global(), (3, 2, 4)),
]


def dtype_of(name: str) -> np.dtype:
    return BF16 if name == "bfloat16" else np.dtype(name)


def float_data(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Distinct multiples of 1/16 in every plane, small enough that bfloat16 holds them exactly."""
    rng = np.random.default_rng(seed)
    plane = int(np.prod(shape[2:]))
    assert plane <= 512, "bfloat16 has eight bits"
    values = [rng.permutation(plane) - plane // 2 for _ in range(shape[0] * shape[1])]
    return (np.array(values).reshape(shape) / 16.0).astype(np.float64)


def integer_data(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """The dtype's whole range, extremes included (int64: what sums of some hundreds cannot overflow)."""
    info = np.iinfo(dtype)
    low, high = (int(info.min), int(info.max)) if dtype != "int64" else (-(2**50), 2**50)
    x = np.random.default_rng(seed).integers(low, high, shape, dtype, endpoint=True)
    x.flat[0], x.flat[-1] = low, high
    return x


def samples_of(case: Case, planes: int) -> np.ndarray | None:
    if not isinstance(case.window, pk.Fractional):
        return None
    return case.window.draw(planes, case.sizes, 5, np.float32)


def plan_of(case: Case, shape: tuple[int, ...]):
    planes = shape[0] * shape[1]
    return plan_for(case.window, shape, len(case.sizes), samples=samples_of(case, planes))


@functools.cache
def expected(case: Case, reducer: pk.Reducer, batch: int = 2, channels: int = 3):
    """Float input, oracle result, output gradient, oracle gradient."""
    x = float_data((batch, channels, *case.sizes))
    plan = plan_of(case, x.shape)
    pooled = reference.forward(x, plan, reducer)
    grad = np.random.default_rng(1).integers(-3, 4, pooled.values.shape).astype(np.float64)
    return x, pooled, grad, reference.backward(x, grad, plan, reducer)


def uniforms_of(reducer: pk.Reducer, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """What a reducer that draws goes by under `SEED`."""
    return arrays.extra_of(reducer, shape, dtype, SEED) if reducer.draws else None


def run(x: np.ndarray, case: Case, reducer: pk.Reducer, grad: np.ndarray | None = None, rank: int | None = None):
    """Forward, indices (if the reducer has them) and gradient by the compiled core."""
    plan = plan_of(case, x.shape)
    save = grad is not None
    y, indices, saved = arrays.forward(x, plan, reducer, return_indices=reducer.selects, save=save, seed=SEED)
    return y, indices, None if grad is None else arrays.backward(grad.astype(x.dtype), saved)


# Error of one result: rounding to the dtype, and what exp, log and pow may add to the accumulator.
TOLERANCE = {"float64": 1e-13, "float32": 6e-7, "float16": 1.1e-3, "bfloat16": 8.5e-3}
# Gradients of the smooth reducers are worked out from y, which was rounded to the dtype already.
GRADIENT_TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-2, "bfloat16": 0.15}


def scale_of(values: np.ndarray) -> float:
    """Sums of cells of both signs cancel: their error is relative to the cells, not to the sum."""
    return max(float(np.abs(values).max()), 0.5)


def assert_close(actual: np.ndarray, wanted: np.ndarray, tolerance: float, scale: float | None = None) -> None:
    """Equal where NaN or infinite; elsewhere within `tolerance` relative to the value (or to `scale`)."""
    actual = np.asarray(actual).astype(np.float64)
    assert actual.shape == wanted.shape
    bound = tolerance * np.maximum(np.abs(wanted), 1e-3 if scale is None else scale)
    same = (actual == wanted) | (np.isnan(actual) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        wrong = ~(same | (np.abs(actual - wanted) <= bound))
    if wrong.any():
        at, got, right = np.argwhere(wrong)[0], actual[wrong][0], wanted[wrong][0]
        raise AssertionError(f"{wrong.sum()} of {wrong.size} differ; at {at}: {got} is not {right}")


def in_process(code: str, *, seconds: float = 30, gigabytes: float = 6, env: dict[str, str] | None = None) -> str:
    """Runs code in its own Python, with limits on time and address space; gives its output.

    A crash, a hang or an uncaught error fails the test.
    """
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({int(gigabytes * 2**30)},) * 2)\n"
    paths = [str(Path(pk.__file__).parent.parent), str(Path(__file__).parent)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), **(env or {})}
    done = subprocess.run(
        [sys.executable, "-c", limit + code],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
