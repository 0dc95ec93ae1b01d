"""Windows with reducers in ONNX Runtime against poolkit: exact where a cell is chosen, else within some ulp."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx_support import exported, tensors
from support import CASES, INTEGERS, REDUCERS, Case, float_data, integer_data, samples_of

import poolkit as pk
from poolkit.torch.functional import pool

# Of the largest magnitude among a window's cells and its result: 24 ulp of float32, for sums of n cells n times that.
TOLERANCE = 3e-6
EVERYWHERE = [pk.Max(), pk.Mean(count_include_pad=True)]
# Away from equal distances, its weights are quotients of differences.
ROUGH = (pk.Ada,)


def window_of(case: Case):
    if not isinstance(case.window, pk.Fractional):
        return case.window
    samples = torch.from_numpy(np.asarray(samples_of(case, 6)))
    if case.window.style == "torch":
        samples = samples.reshape(2, 3, len(case.sizes))
    return replace(case.window, random_samples=samples)


def pairs():
    """Some reducers with every window, all of them with some windows of each kind."""
    for i, case in enumerate(CASES):
        for j, reducer in enumerate(REDUCERS):
            if reducer in EVERYWHERE or (i + j) % 11 == 0:
                yield case, reducer


def batches(size=40):
    found = [pair for pair in pairs() if fits(*pair)]
    return [found[i : i + size] for i in range(0, len(found), size)]


def fits(case, reducer):
    """TopKMean(1), for example, does; what wants more cells than a window has does not."""
    try:
        pk.pool(torch.zeros(2, 3, *case.sizes), window_of(case), reducer)
    except pk.PoolError:
        return False
    return True


def call(case, reducer, *, indices=False):
    return functools.partial(pk.pool, window=window_of(case), reducer=reducer, return_indices=indices)


def hostile(x, kind):
    y = x.clone()
    flat = y.view(-1)
    if kind == "nan":
        flat[::7] = torch.nan
    if kind == "infinite":
        flat[::5], flat[1::5], y[1] = torch.inf, -torch.inf, -torch.inf
    if kind == "huge":
        y *= 1e30
    if kind == "tiny":
        y *= 1e-30
    return y


def compare(x, case, reducer, found, wanted, note):
    assert len(found) == len(wanted), note
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == theirs.dtype, note
        assert mine.shape == theirs.shape, note
        if not theirs.is_floating_point() or reducer.selects or isinstance(reducer, pk.Max | pk.Min):
            assert torch.equal(mine.nan_to_num(7e7), theirs.nan_to_num(7e7)), note
            assert torch.equal(mine.isnan(), theirs.isnan()), note
            continue
        scale = pk.pool(x.nan_to_num(0, 0, 0).abs(), window_of(case), pk.Max()).double()
        if isinstance(reducer, pk.LogSumExp):  # the logarithm of a number that was rounded
            scale += 1
        if isinstance(reducer, pk.Sum):
            scale *= pk.pool(torch.ones_like(x), window_of(case), pk.Sum()).double()
        bound = TOLERANCE * torch.maximum(scale, theirs.double().abs().nan_to_num(0, 0, 0))
        close = (mine.double() - theirs.double()).abs() <= bound
        same = (mine == theirs) | (mine.isnan() & theirs.isnan()) | close
        assert same.all(), (*note, mine[~same][:3], theirs[~same][:3])


@pytest.mark.parametrize("batch", batches(), ids=lambda batch: f"{batch[0][0]}..{batch[-1][0]}")
def test_windows_and_reducers(batch, tmp_path):
    cases = list(dict.fromkeys(case for case, _ in batch))
    inputs = [torch.from_numpy(float_data((2, 3, *case.sizes))).float() for case in cases]
    parts, told = [], []
    for case, reducer in batch:
        place = (cases.index(case),)
        parts.append((call(case, reducer), place))
        told.append((case, reducer))
        if reducer.selects:
            parts.append((call(case, reducer, indices=True), place))
            told.append((case, reducer))
    run = exported(parts, inputs, tmp_path)
    for kind in ("usual", "nan", "infinite", "huge", "tiny"):
        given = [hostile(x, kind) for x in inputs]
        for (part, (place,)), (case, reducer), found in zip(parts, told, run(*given), strict=True):
            if kind in ("huge", "tiny") and isinstance(reducer, ROUGH):
                continue
            wanted = tensors(part(given[place]))
            compare(given[place], case, reducer, found, wanted, (str(case), str(reducer), kind))


SOME = [
    Case(pk.Sliding(3, 2, 1), (9, 10)),
    Case(pk.Sliding(3, 2, 0, 2, True), (12,)),
    Case(pk.Adaptive((2, 3, 2)), (3, 4, 5)),
    Case(pk.Global(), (5, 6)),
]


def every_part(reducers, dtypes, make):
    """Each reducer with two windows in every dtype: parts, inputs, and what is in each part."""
    cases = SOME[:2]
    inputs = [make(case, dtype) for dtype in dtypes for case in cases]
    chosen = [
        (d * len(cases) + c, case, reducer, dtype)
        for d, dtype in enumerate(dtypes)
        for c, case in enumerate(cases)
        for reducer in reducers[c::2]
    ]
    parts = [(call(case, reducer, indices=reducer.selects), (place,)) for place, case, reducer, _ in chosen]
    return parts, inputs, chosen


def test_other_precisions(tmp_path):
    # float64 has no AveragePool, LpPool or Conv in ONNX Runtime; half precision is worked out in float32.
    reducers = [pk.Max(), pk.Mean(), pk.Sum(), pk.Lp(2), pk.Soft(), pk.Median(), pk.Mixed(0.3), pk.Std(), pk.GeM()]
    dtypes = [torch.float64, torch.float16, torch.bfloat16]
    make = lambda case, dtype: torch.from_numpy(float_data((2, 3, *case.sizes))).to(dtype)  # noqa: E731
    parts, inputs, chosen = every_part(reducers, dtypes, make)
    for (part, (place,)), found, (_, case, reducer, dtype) in zip(
        parts, exported(parts, inputs, tmp_path)(), chosen, strict=True
    ):
        for one, other in zip(found, tensors(part(inputs[place])), strict=True):
            assert one.dtype == other.dtype
            if reducer.selects:
                assert torch.equal(one, other), (case, reducer, dtype)
            else:
                allowed = 4 * torch.finfo(dtype).eps * float(inputs[place].abs().max())
                assert (one - other).abs().max() <= allowed, (case, reducer, dtype)


def test_integers(tmp_path):
    reducers = [pk.Max(), pk.Min(), pk.Sum(), pk.Mean(), pk.Quantile(0.3, "higher"), pk.Mean(divisor=3)]
    make = lambda case, dtype: torch.from_numpy(integer_data((2, 3, *case.sizes), dtype))  # noqa: E731
    parts, inputs, chosen = every_part(reducers, INTEGERS, make)
    for (part, (place,)), found, (_, *told) in zip(parts, exported(parts, inputs, tmp_path)(), chosen, strict=True):
        for one, other in zip(found, tensors(part(inputs[place])), strict=True):
            assert one.dtype == other.dtype, told
            assert torch.equal(one, other), told


def test_a_finite_input_takes_onnx_own_operators(tmp_path):
    reducers = [pk.Max(), pk.Mean(), pk.Lp(2), pk.Lp(3)]
    windows = [*SOME, Case(pk.Adaptive(4), (9, 10)), Case(pk.Adaptive((2, 5)), (4, 10))]
    inputs = [torch.from_numpy(float_data((2, 3, *case.sizes))).float() for case in windows]
    chosen = [(case, reducer) for case in windows for reducer in reducers]
    parts = [(call(case, reducer, indices=False), (windows.index(case),)) for case, reducer in chosen]
    found = exported(parts, inputs, tmp_path, assume_finite=True)()
    for (part, (place,)), mine, (case, reducer) in zip(parts, found, chosen, strict=True):
        compare(inputs[place], case, reducer, mine, tensors(part(inputs[place])), (str(case), str(reducer)))
    import onnx

    used = {node.op_type for node in onnx.load(tmp_path / "many.onnx").graph.node}
    assert used >= {"MaxPool", "GlobalMaxPool", "AveragePool", "GlobalAveragePool", "LpPool", "GlobalLpPool", "MatMul"}


def test_without_a_batch_and_with_any(tmp_path):
    reducers = [pk.Max(), pk.Mean(), pk.Lp(3), pk.Soft(), pk.Median(), pk.Ordinal((1.0, 0.5, 0.25))]
    window = pk.Sliding(3, 2, 1)
    inputs = [torch.from_numpy(float_data((2, 3, 9, 10))).float()]
    single = [(functools.partial(_pool_one, window=window, reducer=reducer), (0,)) for reducer in reducers]
    for mine, (part, _) in zip(exported(single, inputs, tmp_path)(), single, strict=True):
        for one, other in zip(mine, tensors(part(inputs[0])), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    batched = [(functools.partial(pk.pool, window=window, reducer=reducer), (0,)) for reducer in reducers]
    run = exported(batched, inputs, tmp_path, dynamic_shapes={"inputs": ({0: torch.export.Dim("batch")},)})
    for size in (1, 5):
        x = torch.randn(size, 3, 9, 10)
        for mine, (part, _) in zip(run(x), batched, strict=True):
            for one, other in zip(mine, tensors(part(x)), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def _pool_one(x, window, reducer):
    return pool(x[0], window, reducer, rank=2, return_indices=isinstance(reducer, pk.Max))
