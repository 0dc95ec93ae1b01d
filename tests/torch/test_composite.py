"""The operators as compositions of torch's own, against the oracle and the kernels: what serves every other device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import (
    ADDING,
    BF16,
    CASES,
    CHOOSING,
    DRAWN,
    FLOATS,
    GRADIENT_TOLERANCE,
    INTEGERS,
    RANKED,
    REDUCERS,
    SEED,
    TOLERANCE,
    WHOLE,
    A,
    Case,
    F,
    S,
    assert_close,
    dtype_of,
    expected,
    float_data,
    in_process,
    integer_data,
    plan_of,
    scale_of,
    uniforms_of,
)
from torch.export import Dim
from torch.fx.experimental.proxy_tensor import make_fx

import poolkit as pk
from poolkit import arrays, nn, reference
from poolkit.torch import autograd, composite, ops
from poolkit.torch.functional import pool
from poolkit.torch.unpooling import max_unpool

SMALL = [
    Case(S(3, 2, 1), (9,)),
    Case(S(3, 1, 1, 2), (7,)),
    Case(S((2, 3), 2, (1, 1), (2, 1), True), (7, 9)),
    Case(A((2, 5)), (7, 8)),
    Case(F((2, 3), output_ratio=(0.6, 0.5)), (9, 10)),
    Case(F(pooling_ratio=1.5, style="tensorflow"), (4, 3, 5)),
    Case(pk.Global(), (3, 2, 4)),
]


FILTERED = [case for case in CASES if not isinstance(case.window, pk.Adaptive | pk.Global)]


def filter_on(plan) -> pk.Filter:
    return pk.Filter(tuple((np.arange(int(np.prod([axis.kernel for axis in plan.axes]))) % 7 - 3) / 4))


def tensor(x: np.ndarray) -> torch.Tensor:
    if x.dtype == BF16:
        return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(x))


def array(t: torch.Tensor) -> np.ndarray:
    return t.detach().to(torch.float64).numpy()


def arguments(x: torch.Tensor, plan, reducer: pk.Reducer, extra: torch.Tensor | None = None) -> tuple[Any, ...]:
    """Those of `autograd.Pool` and `composite.operators`."""
    starts = None if plan.starts is None else torch.tensor(plan.starts)
    if extra is None and reducer.draws:
        shape = (*x.shape[: -plan.rank], *plan.out_shape)
        extra = tensor(arrays.extra_of(reducer, shape, np.dtype("float64"), SEED)).to(wide(x.dtype))
    elif extra is None and reducer.values is not None:
        extra = torch.tensor(reducer.values, dtype=wide(x.dtype))
        shape = (*x.shape[: -plan.rank], *plan.out_shape)
        extra = extra.expand(shape) if reducer.extra == "outputs" else extra[None]
    return x, starts, extra, ops.encode(reducer.code, reducer.params, plan.spec)


def wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def run(x: torch.Tensor, plan, reducer: pk.Reducer, extra: torch.Tensor | None = None):
    """y and indices, as the front end calls the operators."""
    x, starts, extra, text = arguments(x, plan, reducer, extra)
    size = arrays.offset_dtype(plan).itemsize if "offsets" in reducer.keeps else 0
    y = autograd.Pool.apply(x, starts, extra, text, autograd.mask(reducer.keeps), size, plan.rank, reducer.selects)
    return y if reducer.selects else (y, None)


@pytest.mark.parametrize("reducer", [*REDUCERS, *DRAWN], ids=repr)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_indices_and_gradients(case: Case, reducer: pk.Reducer) -> None:
    reducer = reducer.on(case.window)
    x, pooled, grad, dx = expected(case, reducer, 1, 2) if not reducer.draws else drawn(case, reducer)
    leaf = torch.from_numpy(x).requires_grad_()
    with composite.Forced():
        y, indices = run(leaf, plan_of(case, x.shape), reducer)
        y.backward(torch.from_numpy(grad))
    if reducer.selects:
        np.testing.assert_array_equal(indices.numpy(), pooled.indices)
        np.testing.assert_array_equal(array(y), pooled.values)
    assert_close(array(y), pooled.values, 1e-13, scale_of(pooled.values))
    assert_close(array(leaf.grad), dx, 1e-12, scale_of(dx))


def drawn(case: Case, reducer: pk.Reducer):
    x = float_data((1, 2, *case.sizes))
    plan = plan_of(case, x.shape)
    uniforms = uniforms_of(reducer, (1, 2, *plan.out_shape), np.dtype("float64"))
    pooled = reference.forward(x, plan, reducer, uniforms)
    grad = np.random.default_rng(1).integers(-3, 4, pooled.values.shape).astype(np.float64)
    return x, pooled, grad, reference.backward(x, grad, plan, reducer, uniforms)


def plain(x: torch.Tensor, plan, reducer: pk.Reducer) -> torch.Tensor:
    """y alone, for torch's own differentiation."""
    x, starts, extra, text = arguments(x, plan, reducer)
    return composite.operators.pool(x, text, starts, extra)


@pytest.mark.parametrize("reducer", [*REDUCERS, *DRAWN], ids=repr)
def test_torch_differentiates_them_to_the_same_gradient(reducer: pk.Reducer) -> None:
    """As it does once an exported program is decomposed and trained."""
    for case in SMALL:
        here = reducer.on(case.window)
        x, _, grad, dx = expected(case, here, 1, 2) if not here.draws else drawn(case, here)
        leaf = torch.from_numpy(x).requires_grad_()
        plain(leaf, plan_of(case, x.shape), here).backward(torch.from_numpy(grad))
        assert_close(array(leaf.grad), dx, 1e-12, scale_of(dx))


@pytest.mark.parametrize("reducer", [*REDUCERS, *DRAWN], ids=repr)
@pytest.mark.parametrize("case", [SMALL[0], SMALL[2]], ids=str)
def test_every_precision(case: Case, reducer: pk.Reducer) -> None:
    reducer = reducer.on(case.window)
    x, pooled, grad, dx = expected(case, reducer, 1, 2) if not reducer.draws else drawn(case, reducer)
    for dtype in FLOATS:
        leaf = tensor(x.astype(dtype_of(dtype))).requires_grad_()
        with composite.Forced():
            y, _ = run(leaf, plan_of(case, x.shape), reducer)
            y.backward(tensor(grad.astype(dtype_of(dtype))))
        assert y.dtype == leaf.dtype == leaf.grad.dtype
        assert_close(array(y), pooled.values, TOLERANCE[dtype], scale_of(pooled.values))
        assert_close(array(leaf.grad), dx, GRADIENT_TOLERANCE[dtype], scale_of(dx))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(
    "reducer", [*CHOOSING, *RANKED, *(r for r in ADDING if getattr(r, "divisor", None) is None)], ids=repr
)
def test_integers_are_exact(reducer: pk.Reducer, dtype: str) -> None:
    for case in SMALL:
        check_integers(case, reducer.on(case.window), dtype)


def check_integers(case: Case, reducer: pk.Reducer, dtype: str) -> None:
    x = integer_data((2, 3, *case.sizes), dtype)
    plan = plan_of(case, x.shape)
    pooled = reference.forward(x, plan, reducer)
    given, starts, _, text = arguments(torch.from_numpy(x), plan, reducer)
    y = composite.operators.pool(given, text, starts)
    assert y.numpy().dtype == pooled.values.dtype
    np.testing.assert_array_equal(y.numpy(), pooled.values)
    if reducer.selects:
        _, indices = composite.operators.pool_with_indices(given, text, starts)
        np.testing.assert_array_equal(indices.numpy(), pooled.indices)


def poisoned(case: Case) -> torch.Tensor:
    """Ties, NaN, both infinities, zeros of both signs, and windows full of one of them."""
    rng = np.random.default_rng(5)
    x = rng.integers(-2, 3, (3, 3, *case.sizes)).astype(np.float64)
    flat = x.reshape(9, -1)
    for plane, special in enumerate((np.nan, np.inf, -np.inf, -0.0)):
        flat[plane, :: 3 + plane] = special
    flat[4], flat[5], flat[6], flat[7] = 0.0, np.inf, -np.inf, np.nan
    return torch.from_numpy(x)


@pytest.mark.parametrize("reducer", [*REDUCERS, *DRAWN], ids=repr)
def test_nan_infinities_zeros_and_ties_as_the_kernels_have_them(reducer: pk.Reducer) -> None:
    """Where a NaN makes an output NaN, its gradient is promised only where a cell is chosen."""
    for case in SMALL:
        check_special_values(case, reducer.on(case.window))


def check_special_values(case: Case, reducer: pk.Reducer) -> None:
    x = poisoned(case)
    plan = plan_of(case, tuple(x.shape))
    leaf, same = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, indices = run(same, plan, reducer)
    y.sum().backward()
    with composite.Forced():
        mine, chosen = run(leaf, plan, reducer)
        mine.sum().backward()
    assert_close(array(mine), array(y), 1e-13, 0.5)
    kept = ~x.isnan().flatten(2).any(-1)
    if indices is not None:
        assert torch.equal(chosen, indices)
        kept[:] = True
    assert kept.sum() >= 7
    assert_close(array(leaf.grad[kept]), array(same.grad[kept]), 1e-12, 0.5)


@pytest.mark.parametrize("reducer", [*REDUCERS[:8], *DRAWN, pk.Soft(), pk.Mixed(0.3)], ids=repr)
@pytest.mark.parametrize("shape", [(3, 7, 9), (0, 3, 7, 9), (1, 1, 7, 9), (2, 3, 7, 9)], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["planar", "channels-last"])
def test_outputs_are_laid_out_as_the_fakes_say(shape, reducer: pk.Reducer, last: bool) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    if last:
        x = x.movedim(-3, -1).contiguous().movedim(-1, -3)
    plan = S(3, 2, 1).plan((7, 9))
    given = arguments(x, plan, reducer)
    with composite.Forced():
        outputs = forward(*given, plan, reducer)
    fakes = forward(*(t.to("meta") if isinstance(t, torch.Tensor) else t for t in given), plan, reducer)
    wanted = forward(*given, plan, reducer)
    for mine, fake, want in zip(outputs, fakes, wanted, strict=True):
        assert mine.stride() == want.stride()
        assert (mine.shape, mine.dtype) == (fake.shape, fake.dtype)
        torch.testing.assert_close(mine, want, rtol=1e-12, atol=1e-12)


def forward(x, starts, extra, text, plan, reducer: pk.Reducer) -> tuple[torch.Tensor, ...]:
    """All that the operators give, offsets and lse too."""
    if reducer.selects:
        return ops.pool_with_offsets_and_indices(x, text, starts, arrays.offset_dtype(plan).itemsize, extra)
    if "lse" in reducer.keeps:
        return ops.pool_with_lse(x, text, starts)
    return (ops.pool(x, text, starts, extra),)


def test_offsets_of_one_two_and_four_bytes_are_those_of_the_kernels() -> None:
    for side, size in ((15, 1), (16, 2), (250, 2), (256, 4)):
        x = torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(0))
        text = ops.encode(0, pk.Max().params, pk.Global().plan((side, side)).spec)
        y, offsets = ops.pool_with_offsets(x, text, None, size)
        mine = composite.operators.pool_with_offsets(x, text, None, size)
        assert mine[1].dtype == offsets.dtype
        assert torch.equal(mine[1], offsets)
        with composite.Forced():
            dx = ops.pool_backward(y, text, None, None, None, None, offsets, False)
        assert torch.equal(dx, ops.pool_backward(y, text, None, None, None, None, offsets, False))


LEARNED = [
    (pk.Mixed(), "outputs"),
    (pk.Ada(), "outputs"),
    (pk.Ada(0.3, "idw", 0.01), "outputs"),
    (pk.Boltzmann(), "outputs"),
    (pk.GeM(), "outputs"),
    (pk.Ordinal((1.0, 2.0, 3.0, 4.0)), "kernel"),
    (pk.Filter((0.0,)), "kernel"),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("reducer", "kind"), LEARNED, ids=repr)
@pytest.mark.parametrize("case", [case for case in SMALL if not isinstance(case.window, pk.Fractional)], ids=str)
def test_gradients_of_the_array_beside_x(case: Case, reducer: pk.Reducer, kind: str, channels: int) -> None:
    """By the kernels, by the compositions, and by torch's differentiation of them."""
    x = torch.from_numpy(float_data((2, 3, *case.sizes)))
    plan = plan_of(case, tuple(x.shape))
    if isinstance(reducer, pk.Filter):
        if any(axis.kind == "adaptive" for axis in plan.axes):
            return
        reducer = filter_on(plan)
    generator = torch.Generator().manual_seed(1)
    if kind == "outputs":
        extra = torch.rand(2, 3, *plan.out_shape, dtype=torch.float64, generator=generator)
    else:
        extra = torch.randn(channels, len(reducer.values or ()), dtype=torch.float64, generator=generator)
    results = []
    for way in ("kernels", "composite", "torch"):
        leaf, beside = x.clone().requires_grad_(), extra.clone().requires_grad_()
        if way == "torch":
            given = arguments(leaf, plan, reducer, beside)
            y = composite.operators.pool(given[0], given[3], given[1], given[2])
            y.square().sum().backward()
        elif way == "composite":
            with composite.Forced():
                y, _ = run(leaf, plan, reducer, beside)
                y.square().sum().backward()
        else:
            y, _ = run(leaf, plan, reducer, beside)
            y.square().sum().backward()
        results.append((y, leaf.grad, beside.grad))
    for other in results[1:]:
        for mine, want in zip(other, results[0], strict=True):
            torch.testing.assert_close(mine, want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    "case", [case for case in CASES if not isinstance(case.window, pk.Adaptive | pk.Global)], ids=str
)
def test_filters(case: Case) -> None:
    plan = plan_of(case, (2, 3, *case.sizes))
    if any(axis.reaches for axis in plan.axes):
        return
    reducer = filter_on(plan)
    x, pooled, grad, dx = expected(case, reducer)
    leaf = torch.from_numpy(x).requires_grad_()
    with composite.Forced():
        y, _ = run(leaf, plan, reducer)
        y.backward(torch.from_numpy(grad))
    assert_close(array(y), pooled.values, 1e-13, scale_of(pooled.values))
    assert_close(array(leaf.grad), dx, 1e-12, scale_of(dx))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unpooling_with_equal_indices(rank: int) -> None:
    """Of equal indices the last one wins, forward and backward."""
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(2, 3, *[4] * rank, dtype=torch.float64, generator=generator)
    indices = torch.randint(0, 6**rank, x.shape, generator=generator)
    indices[0] = 5
    results = []
    for forced in (False, True):
        leaf = x.clone().requires_grad_()
        if forced:
            with composite.Forced():
                out = pk.torch.unpooling.index_unpool(leaf, indices, [6] * rank)
                out.square().sum().backward()
        else:
            out = pk.torch.unpooling.index_unpool(leaf, indices, [6] * rank)
            out.square().sum().backward()
        results.append((out, leaf.grad))
    for mine, want in zip(*results, strict=True):
        assert torch.equal(mine, want)


def test_every_other_device_is_served() -> None:
    for name in composite.OPERATORS:
        for key in ("CUDA", "MPS", "XPU", "HPU", "XLA", "PrivateUse1", "Meta"):
            assert torch._C._dispatch_has_computed_kernel_for_dispatch_key(f"poolkit::{name}", key), (name, key)


def test_the_environment_can_ask_for_them() -> None:
    code = """
import torch, poolkit as pk
from poolkit.torch import ops
assert ops.binding == "composite"
assert not torch._C._dispatch_has_kernel_for_dispatch_key("poolkit::pool", "CPU")
x = torch.tensor([[[1.0, 4.0, 2.0, 3.0]]], requires_grad=True)
y = pk.pool(x, pk.Sliding(2), pk.Max())
assert y.tolist() == [[[4.0, 3.0]]]
y.sum().backward()
assert x.grad.tolist() == [[[0.0, 1.0, 0.0, 1.0]]]
"""
    in_process(code, env={"POOLKIT_TORCH_BINDING": "composite"}, seconds=120, gigabytes=16)


def test_seeds_draw_the_same_cells() -> None:
    x = torch.randn(2, 3, 9, 9)
    window = pk.Fractional(2, output_ratio=0.6)
    for reducer in (pk.Max(), pk.Stochastic("softmax")):
        want = pool(x, window, reducer, seed=3)
        with composite.Forced():
            assert torch.equal(pool(x, window, reducer, seed=3), want)


def test_unpooling_puts_maxima_back() -> None:
    x = torch.randn(2, 3, 8, 8)
    with composite.Forced():
        y, indices = pk.max_pool2d(x, 2, return_indices=True)
        back = max_unpool(y, indices, 2, rank=2)
    assert torch.equal(back, max_unpool(*pk.max_pool2d(x, 2, return_indices=True), 2, rank=2))


EXPORTED = [
    nn.MaxPool2d(3, 2, 1, return_indices=True),
    nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    nn.AdaptiveAvgPool2d(3),
    nn.AdaptiveMaxPool2d((None, 2)),
    nn.LPPool2d(2, 3),
    nn.SoftPool2d(3, 2, 1),
    nn.LogSumExpPool2d(2),
    nn.PowerMeanPool2d(3),
    nn.FractionalMaxPool2d(2, output_ratio=0.5),
    nn.FractionalAvgPool2d(None, style="tensorflow", pooling_ratio=1.4),
    nn.MedianPool2d(3, 1, 1),
    nn.StochasticPool2d(2),
    nn.MixedPool2d(3, 2, 1),
]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch.export's own
@pytest.mark.parametrize("module", EXPORTED, ids=lambda module: type(module).__name__)
def test_exported_programs_decompose(module: torch.nn.Module) -> None:
    x = torch.randn(2, 3, 9, 8)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: Dim("batch")},))
    assert "poolkit" in str(program.graph)
    plain = program.run_decompositions(composite.decompositions())
    assert "poolkit" not in str(plain.graph)
    more = torch.cat([x, -x])
    torch.manual_seed(0)
    want = module(more)
    torch.manual_seed(0)
    torch.testing.assert_close(plain.module()(more), want)


@pytest.mark.parametrize("reducer", [pk.Max(), pk.Mean(), pk.Soft(), *WHOLE], ids=repr)
def test_backward_passes_decompose(reducer: pk.Reducer) -> None:
    plan = S(3, 2, 1).plan((7, 9))
    x = torch.randn(2, 3, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradient(x: torch.Tensor) -> torch.Tensor:
        leaf = x.detach().requires_grad_()
        y, _ = run(leaf, plan, reducer)
        return torch.autograd.grad(y.square().sum(), leaf)[0]

    graph = make_fx(gradient, decomposition_table=composite.decompositions(), tracing_mode="symbolic")(x)
    assert "poolkit" not in graph.code
    torch.testing.assert_close(graph(x), gradient(x), rtol=1e-12, atol=1e-12)
