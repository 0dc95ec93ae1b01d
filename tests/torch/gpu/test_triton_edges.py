"""What the kernels do at the edges: special values, draws, memory around tensors, odd layouts, bad input."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from draws import at_borders
from support import DRAWN, RANKED, REDUCERS, Case, F, S, assert_close, float_data, plan_of, samples_of
from torch.utils._python_dispatch import _disable_current_modes
from triton_support import DEVICE, INTERPRETED, arguments, array, run, tensor

import poolkit as pk
from poolkit import arrays
from poolkit.torch import composite, ops, shapes, triton
from poolkit.torch.functional import pool
from poolkit.torch.unpooling import check_places

pytestmark = pytest.mark.gpu

KERNELS = [reducer for reducer in [*REDUCERS, *DRAWN] if not isinstance(reducer, pk.Ada)]
SMALL = [
    Case(S((2, 3), 2, (1, 1), (2, 1), True), (7, 9)),
    Case(S(3, 1, 1), (9,)),
    Case(F((2, 3), output_ratio=(0.6, 0.5)), (9, 10)),
    Case(pk.Global(), (3, 2, 4)),
]


def by_cpu(call, *tensors):
    """The same by the kernels of the CPU."""
    with _disable_current_modes():
        return call(*(t.detach().cpu() if isinstance(t, torch.Tensor) else t for t in tensors))


def poisoned(case: Case) -> torch.Tensor:
    """Ties, NaN, both infinities, zeros of both signs, and windows full of one of them."""
    rng = np.random.default_rng(5)
    x = rng.integers(-2, 3, (3, 3, *case.sizes)).astype(np.float64)
    flat = x.reshape(9, -1)
    for plane, special in enumerate((np.nan, np.inf, -np.inf, -0.0)):
        flat[plane, :: 3 + plane] = special
    flat[4], flat[5], flat[6], flat[7] = 0.0, np.inf, -np.inf, np.nan
    return tensor(x)


def special():
    for i, case in enumerate(SMALL):
        for j, reducer in enumerate(KERNELS):
            if not INTERPRETED or (i + j) % 6 == 0:
                yield pytest.param(case, reducer, id=f"{case}-{reducer!r}")


@pytest.mark.parametrize(("case", "reducer"), list(special()))
def test_nan_infinities_zeros_and_ties_as_on_the_cpu(case: Case, reducer: pk.Reducer) -> None:
    """Where a NaN makes an output NaN, its gradient is promised only where a cell is chosen."""
    reducer = reducer.on(case.window)
    x = poisoned(case)
    plan = plan_of(case, tuple(x.shape))

    def both(x: torch.Tensor):
        leaf = x.clone().requires_grad_()
        y, indices = run(leaf, plan, reducer)
        y.sum().backward()
        return y, indices, leaf.grad

    y, indices, dx = both(x)
    want, places, gradient = by_cpu(both, x)
    assert_close(array(y), array(want), 1e-13, 0.5)
    kept = ~x.isnan().flatten(2).any(-1).cpu()
    if indices is not None:
        assert torch.equal(indices.cpu(), places)
        kept[:] = True
    assert kept.sum() >= 7
    assert_close(array(dx.cpu()[kept]), array(gradient[kept]), 1e-12, 0.5)


DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LARGE = [
    Case(S((5, 7), 2, (1, 3)), (13, 14)),
    Case(F(6, output_ratio=0.4), (13, 14)),
    Case(pk.Adaptive(3), (19, 16)),
    Case(pk.Global(), (7, 8)),
    Case(S((3, 4, 3), 2, 1), (5, 6, 7)),
]


def draws():
    """Windows in registers, and those that only a draw by activation has a kernel for."""
    for i, reducer in enumerate(DRAWN):
        for j, dtype in enumerate(DTYPES):
            yield pytest.param(Case(S(3, 2, 1), (15, 13)), reducer, dtype, id=f"{reducer!r}-{dtype}")
            for k, case in enumerate(LARGE):
                if isinstance(reducer, pk.Stochastic) and (not INTERPRETED or (i == 1 and k % 4 == j)):
                    yield pytest.param(case, reducer, dtype, id=f"{case}-{reducer!r}-{dtype}")


@pytest.mark.parametrize(("case", "reducer", "dtype"), list(draws()))
def test_the_same_uniforms_draw_the_same_cells_as_on_the_cpu(case, reducer: pk.Reducer, dtype, caplog) -> None:
    """Uniforms on the borders between cells, too; in single precision, whatever the exponential."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 4, *case.sizes, generator=generator).to(dtype)
    x[0, 0, ..., ::5], x[0, 1, ..., ::4], x[0, 2], x[0, 3, ..., 1::3] = torch.nan, torch.inf, -1.0, -torch.inf
    plan = plan_of(case, tuple(x.shape))
    with _disable_current_modes():
        given = arguments(x, plan, reducer)
        u = at_borders(x, given[3], given[1], 5)
    triton._tell.cache_clear()
    y, indices = run(x.to(DEVICE), plan, reducer, u.to(DEVICE))
    assert not caplog.records
    want, places = by_cpu(run, x, plan, reducer, u)
    assert torch.equal(indices.cpu(), places)
    torch.testing.assert_close(y.cpu(), want, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "reducer", [pk.Mean(), pk.Mean(divisor=3), pk.Lp(2), pk.Lp(3.5), pk.RMS(), pk.PowerMean(), pk.Mixed()]
)
@pytest.mark.parametrize("window", [S(3, 2, 1), pk.Global()], ids=str)
@pytest.mark.parametrize("size", [3e38, 1e-36])
def test_nothing_overflows_on_the_way(size: float, window: pk.Window, reducer: pk.Reducer) -> None:
    x = torch.full((2, 2, 5, 5), size, device=DEVICE)
    x[0, 0, 2, 2] = 1.0
    want = by_cpu(lambda x: pool(x, window, reducer), x)
    torch.testing.assert_close(pool(x, window, reducer).cpu(), want, rtol=1e-6, atol=0)


CUT = [pk.Mean(), pk.Lp(3), pk.Soft(-2.0), pk.Boltzmann(), pk.Mixed(), pk.Var(unbiased=True), pk.Std(), pk.GeM()]


@pytest.mark.parametrize("window", [pk.Global(), S(60, 39)], ids=str)
def test_pieces_hold_what_a_whole_window_holds(window: pk.Window, monkeypatch) -> None:
    """Sums that overflow, cells far from zero, NaN and infinities: as in one piece, and as exact."""
    from poolkit.torch.triton import run as runs

    x = np.random.default_rng(2).uniform(-1, 1, (1, 6, 99))
    x[0, 0], x[0, 1] = 3e38, 1e-36
    x[0, 2] += 1e4
    x[0, 3, 50], x[0, 4, 50], x[0, 5, 40] = np.nan, np.inf, -np.inf
    x = x.astype(np.float32)
    plan = window.plan((99,))
    want = {reducer: run(tensor(x), plan, reducer)[0] for reducer in CUT}
    for name, number in (("WORTH", 20), ("LONG", 20), ("BUSY", 64)):
        monkeypatch.setattr(runs, name, number)
    for j, reducer in enumerate(CUT):
        y, _ = run(tensor(x, last=j % 2), plan, reducer)
        tolerance = 1e-4 if reducer in (pk.Var(unbiased=True), pk.Std()) else 3e-6
        torch.testing.assert_close(y, want[reducer], rtol=tolerance, atol=0, equal_nan=True)


@pytest.mark.parametrize("reducer", [pk.Var(), pk.Std(unbiased=True)], ids=repr)
def test_large_windows_vary_far_from_zero(reducer: pk.Reducer) -> None:
    """Axis by axis nothing of float32 is lost, and equal cells have neither a spread nor a slope."""
    x = np.random.default_rng(4).uniform(-1, 1, (1, 3, 20, 21)) + 1e4
    x[0, 1], x[0, 2] = 0.1, 3e38
    leaf = tensor(x.astype(np.float32)).requires_grad_()
    far = leaf.detach()[:, :1].double().cpu().requires_grad_()
    y, _ = run(leaf, S(9, 3, 4).plan((20, 21)), reducer)
    y.backward(torch.ones_like(y))

    def exact(x: torch.Tensor):
        y, _ = run(x, S(9, 3, 4).plan((20, 21)), reducer)
        return y, torch.autograd.grad(y, x, torch.ones_like(y))[0]

    want, gradient = by_cpu(lambda: exact(far))
    assert_close(array(y[:, :1]), array(want), 2e-7, 0.5)
    assert_close(array(leaf.grad[:, :1]), array(gradient), 2e-7, 0.05)
    assert y[:, 1].eq(0).all()
    assert leaf.grad[:, 1].abs().max() < 1e-6
    assert not y[:, 2].isnan().any()
    assert not leaf.grad[:, 1:].isnan().any()


class Fence:
    """Allocates between bands of poison, and tells whether they still hold it."""

    def __init__(self) -> None:
        self.whole: list[tuple[torch.Tensor, int, int]] = []

    def tensor(self, shape, stride, dtype) -> torch.Tensor:
        band, room = 512, 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if all(shape) else 0
        memory = torch.full((band + room + band,), 77, dtype=dtype, device=DEVICE)
        if dtype.is_floating_point:
            memory[:band], memory[band + room :] = float("nan"), float("nan")
        self.whole.append((memory, band, room))
        return memory.as_strided(tuple(shape), tuple(stride), band)

    def check(self) -> None:
        for memory, band, room in self.whole:
            for part in (memory[:band], memory[band + room :]):
                assert part.isnan().all() if memory.is_floating_point() else (part == 77).all()


FENCED = [pk.Max(), pk.Mean(), pk.Soft(), pk.Lp(3), pk.Var(), pk.Median(), pk.RankMean(0.3), pk.Stochastic()]
WINDOWS = [
    Case(S(3, 2, 1), (7, 9)),
    Case(S((7, 6), 1, (3, 2)), (9, 7)),
    Case(F((2, 3), output_ratio=(0.6, 0.5)), (9, 10)),
    Case(pk.Global(), (5, 7)),
    Case(pk.Adaptive((2, 5)), (7, 8)),
]


def fenced():
    for i, case in enumerate(WINDOWS):
        for j, reducer in enumerate(FENCED):
            for last in (False, True):
                if np.prod(case.sizes) > 32 and i in (1, 3) and reducer in FENCED[5:7]:
                    continue  # no kernel holds so many cells
                if not INTERPRETED or (last == (i + j) % 2 and (i + j) % 3 == 1):
                    yield pytest.param(case, reducer, last, id=f"{case}-{reducer!r}-{last}")


@pytest.mark.parametrize(("case", "reducer", "last"), list(fenced()))
def test_nothing_is_read_or_written_outside_of_the_tensors(case: Case, reducer, last: bool, monkeypatch) -> None:
    from poolkit.torch.triton import grid

    fence = Fence()
    data = tensor(float_data((3, 3, *case.sizes)).astype(np.float32), last=last)
    plan = plan_of(case, tuple(data.shape))
    want, _ = run(data, plan, reducer)

    def new(like, shape, rank, dtype, channels_last):
        return fence.tensor(shape, shapes._strides(shape, rank, channels_last), dtype)

    def room(like, form, sizes, dtype):
        shape = (form.samples, *sizes, form.run)
        return fence.tensor(shape, torch.empty(shape, device="meta").stride(), dtype)

    monkeypatch.setattr(shapes, "_new", new)
    monkeypatch.setattr(grid, "workspace", room)
    x = fence.tensor(tuple(data.shape), data.stride(), data.dtype).copy_(data).requires_grad_()
    y, _ = run(x, plan, reducer)
    y.backward(torch.ones_like(y))
    torch.testing.assert_close(y, want, rtol=0, atol=0)
    assert not x.grad.isnan().any()
    fence.check()
    assert len(fence.whole) >= 3


@pytest.mark.parametrize("value", [-5, -1, 1000, 2**62, -(2**62)])
def test_starts_outside_of_the_input_touch_nothing(value: int) -> None:
    case = Case(F((2, 3), output_ratio=(0.6, 0.5)), (9, 10))
    plan = plan_of(case, (1, 2, 9, 10))
    starts = torch.tensor(samples_starts(case, plan)).to(DEVICE)
    starts[1, 2] = value
    fence = Fence()
    x = fence.tensor((1, 2, 9, 10), (180, 90, 10, 1), torch.float32).copy_(torch.ones(1, 2, 9, 10))
    text = ops.encode(pk.Sum.code, pk.Sum().params, plan.spec)
    y = ops.pool(x, text, starts)
    dx = ops.pool_backward(y, text, starts, None, None, None, None, False)
    assert not y.isnan().any()
    assert not dx.isnan().any()
    assert y[0, 0].eq(6).all()
    assert y[0, 1, 2].eq(0).all()
    assert y[0, 1, [0, 1, 3, 4]].eq(6).all()
    fence.check()


def samples_starts(case: Case, plan) -> np.ndarray:
    assert samples_of(case, 2) is not None
    return np.array(plan.starts)


@pytest.mark.parametrize("value", [9, 200, 255])
def test_offsets_outside_of_their_window_reach_no_cell(value: int) -> None:
    plan = S(3, 2, 1).plan((7, 7))
    text = ops.encode(pk.Max.code, pk.Max().params, plan.spec)
    dy = torch.ones(1, 1, 4, 4, device=DEVICE)
    offsets = torch.zeros(1, 1, 4, 4, dtype=torch.uint8, device=DEVICE)
    offsets[0, 0, 1, 1] = value
    assert ops.pool_backward(dy, text, None, None, None, None, offsets, False).sum() == 15
    whole = ops.encode(pk.Max.code, pk.Max().params, pk.Global().plan((3, 3)).spec)
    one = torch.full((1, 2, 1, 1), value, dtype=torch.uint8, device=DEVICE)
    one[0, 0] = 8
    dx = ops.pool_backward(torch.ones(1, 2, 1, 1, device=DEVICE), whole, None, None, None, None, one, False)
    assert dx.sum() == dx[0, 0, 2, 2] == 1


@pytest.mark.parametrize("reducer", [pk.Max(), pk.Mean(), pk.Median(), pk.Stochastic(), pk.GeM()], ids=repr)
def test_layouts_and_empty_batches(reducer: pk.Reducer) -> None:
    x = torch.rand(4, 3, 8, 9, device=DEVICE)
    plan = S(3, 2, 1).plan((8, 9))
    want, _ = run(x, plan, reducer)
    for odd in (
        x.repeat_interleave(2, 0)[::2],
        x.transpose(2, 3).contiguous().transpose(2, 3),
        x.contiguous(memory_format=torch.channels_last),
        torch.cat([x, x], 1)[:, :3],
    ):
        y, _ = run(odd, plan, reducer)
        torch.testing.assert_close(y, want, rtol=0, atol=0)
    alone, _ = run(x[0], plan, pk.Max())
    torch.testing.assert_close(alone, run(x, plan, pk.Max())[0][0], rtol=0, atol=0)
    leaf = x[:0].clone().requires_grad_()
    y, _ = run(leaf, plan, reducer)
    y.sum().backward()
    assert y.shape == (0, 3, 4, 5)
    assert leaf.grad.shape == leaf.shape


LEARNED = [
    (pk.Mixed(), S(3, 2, 1)),
    (pk.Mixed(), S((7, 6), 1, (3, 2))),
    (pk.GeM(), S(3, 2, 1)),
    (pk.Boltzmann(), S(3, 2, 1)),
    (pk.Boltzmann(), pk.Global()),
]


def gradients(x: torch.Tensor, extra: torch.Tensor, plan, reducer: pk.Reducer):
    leaf, beside = x.clone().requires_grad_(), extra.clone().requires_grad_()
    y, _ = run(leaf, plan, reducer, beside)
    y.square().sum().backward()
    return leaf.grad, beside.grad


@pytest.mark.parametrize(("reducer", "window"), LEARNED, ids=str)
def test_gradients_of_the_array_beside_x(reducer: pk.Reducer, window: pk.Window, caplog, monkeypatch) -> None:
    from poolkit.torch.triton import run as runs

    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, 7, 9, dtype=torch.float64, generator=generator)
    plan = window.plan((7, 9))
    extra = torch.rand(2, 3, *plan.out_shape, dtype=torch.float64, generator=generator)
    extra.view(-1)[::4], extra.view(-1)[1::4] = 0.0, 1.0
    if isinstance(reducer, pk.GeM):
        extra += 0.5
    if isinstance(reducer, pk.Boltzmann):
        extra = extra * 2 - 1
    monkeypatch.setattr(runs, "WORTH", 20)
    triton._tell.cache_clear()
    want = by_cpu(gradients, x, extra, plan, reducer)
    for last in (False, True):
        laid = [t.contiguous(memory_format=torch.channels_last) if last else t for t in (x, extra)]
        for mine, right in zip(gradients(*(t.to(DEVICE) for t in laid), plan, reducer), want, strict=True):
            torch.testing.assert_close(mine.cpu(), right, rtol=1e-10, atol=1e-11, check_device=False)
    assert not caplog.records


@pytest.mark.parametrize(
    ("window", "channels"), [(S(3, 2, 1), 1), (S((2, 3), (1, 2), (1, 2), (2, 3), True), 3), (S((7, 9)), 3)], ids=str
)
def test_gradients_of_filters(window: pk.Sliding, channels: int, caplog, monkeypatch) -> None:
    from poolkit.torch.triton import grid

    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, 7, 9, dtype=torch.float64, generator=generator)
    plan = window.plan((7, 9))
    weights = torch.rand(channels, plan.axes[0].kernel * plan.axes[1].kernel, dtype=torch.float64, generator=generator)
    reducer = pk.Filter((1.0,) * weights.shape[1])
    triton._tell.cache_clear()
    want = by_cpu(gradients, x, weights, plan, reducer)
    for last, bytes_ in ((False, 2048), (True, 512), (False, 512)):
        monkeypatch.setattr(grid, "TILE_BYTES", bytes_)
        laid = x.contiguous(memory_format=torch.channels_last) if last else x
        for mine, right in zip(gradients(laid.to(DEVICE), weights.to(DEVICE), plan, reducer), want, strict=True):
            torch.testing.assert_close(mine.cpu(), right, rtol=1e-10, atol=1e-11, check_device=False)
    assert not caplog.records


FALLS = [
    (lambda: pool(torch.ones(1, 1, 4, device=DEVICE), S(2), pk.Ada()), "Ada has no kernel"),
    (
        lambda: pool(torch.ones(1, 1, 4, dtype=torch.int32, device=DEVICE), S(2), pk.Max()),
        "int32 tensors have no kernel",
    ),
    (lambda: pool(torch.ones(1, 1, 7, 7, device=DEVICE), S(7), pk.Median()), "at most 32 cells, here 49"),
]


@pytest.mark.parametrize(("call", "why"), FALLS, ids=[why for _, why in FALLS])
def test_what_has_no_kernel_says_so_once(call, why: str, caplog) -> None:
    triton._tell.cache_clear()
    with caplog.at_level(logging.WARNING, "poolkit.triton"):
        for _ in range(3):
            assert call().eq(1).all()
    assert [why in record.message for record in caplog.records] == [True]


BAD = [
    lambda x: pk.max_pool2d(x, 0),
    lambda x: pk.max_pool2d(x, 9),
    lambda x: pk.avg_pool2d(x, 3, padding=2),
    lambda x: pk.max_pool2d(x, 2, stride=0),
    lambda x: pk.soft_pool2d(x[0, 0], 2),
    lambda x: pk.max_pool2d(x > 0, 2),
    lambda x: pk.adaptive_max_pool2d(x, 0),
]


@pytest.mark.parametrize("at", range(len(BAD)))
def test_bad_input_never_gets_to_a_launch(at: int, monkeypatch) -> None:
    from poolkit.torch.triton import run as runs
    from poolkit.torch.triton import small

    for launches in (runs, small):
        monkeypatch.setattr(launches, "launch", lambda *_, **__: pytest.fail("a kernel was launched"))
    x = torch.ones(2, 2, 4, 4, device=DEVICE)
    with pytest.raises(pk.PoolError) as error:
        BAD[at](x)
    with pytest.raises(type(error.value)) as same:
        by_cpu(BAD[at], x)
    assert str(error.value) == str(same.value)


@pytest.mark.parametrize("value", [-1, 16, 2**40])
def test_indices_outside_of_the_plane_are_told_of(value: int) -> None:
    indices = torch.zeros(1, 1, 2, 2, dtype=torch.int64, device=DEVICE)
    indices[0, 0, 1, 0] = value
    with pytest.raises(pk.PoolError, match=f"indices with the value {value}"):
        pk.max_unpool2d(torch.ones(1, 1, 2, 2, device=DEVICE), indices, 2)
    with pytest.raises(pk.PoolError, match=f"indices with the value {value}"):
        check_places(indices, 16)
    check_places(indices.clamp(0, 15), 16)
    check_places(indices[:0], 16)


def wrong_calls(x: torch.Tensor):
    text = ops.encode(pk.Max.code, pk.Max().params, S(2).plan((4, 4)).spec)
    soft = ops.encode(pk.Soft.code, pk.Soft().params, S(2).plan((4, 4)).spec)
    drawn = ops.encode(pk.Stochastic.code, pk.Stochastic().params, S(2).plan((4, 4)).spec)
    dy = torch.ones(1, 1, 2, 2, device=DEVICE)
    offsets = torch.zeros(1, 1, 2, 2, dtype=torch.uint8, device=DEVICE)
    yield lambda: ops.pool(x[..., :3], text)
    yield lambda: ops.pool(x, text, torch.zeros(1, 4, dtype=torch.int64, device=DEVICE))
    yield lambda: ops.pool(x, text, None, x)
    yield lambda: ops.pool_with_offsets(x, text, None, 3)
    yield lambda: ops.pool_with_lse(x, text)
    yield lambda: ops.pool_backward(dy[..., :1], text, None, None, None, None, offsets, False)
    yield lambda: ops.pool_backward(dy, text, None, None, None, None, offsets[..., :1], False)
    yield lambda: ops.pool_backward(dy, text, None, None, None, None, offsets.long(), False)
    yield lambda: ops.pool_backward(dy, soft, None, None, None, None, None, False)
    yield lambda: ops.pool_backward(dy, soft, None, x[..., :3], dy, None, None, False)
    yield lambda: ops.pool(x, "nonsense")
    yield lambda: ops.pool(x, drawn, None, torch.rand(1, 1, 2, 2, device="meta"))
    yield lambda: ops.pool(x, drawn)


@pytest.mark.parametrize("at", range(13))
def test_wrong_operator_calls_never_get_to_a_launch(at: int, monkeypatch) -> None:
    from poolkit.torch.triton import run as runs
    from poolkit.torch.triton import small

    for launches in (runs, small):
        monkeypatch.setattr(launches, "launch", lambda *_, **__: pytest.fail("a kernel was launched"))
    call = list(wrong_calls(torch.ones(1, 1, 4, 4, device=DEVICE)))[at]
    with pytest.raises(RuntimeError, match="poolkit: "):
        call()


def test_one_byte_for_each_output_is_kept() -> None:
    plan = S(3, 2, 1).plan((9, 9))
    text = ops.encode(pk.Max.code, pk.Max().params, plan.spec)
    assert arrays.offset_dtype(plan).itemsize == 1
    _, offsets = ops.pool_with_offsets(torch.rand(1, 2, 9, 9, device=DEVICE), text, None, 1)
    assert offsets.dtype == torch.uint8


def test_the_operators_have_the_layouts_of_their_fakes() -> None:
    x = torch.rand(2, 3, 7, 9, device=DEVICE)
    for last in (False, True):
        laid = x.contiguous(memory_format=torch.channels_last) if last else x
        for reducer in (pk.Max(), pk.Soft(), pk.Median()):
            given = arguments(laid, S(3, 2, 1).plan((7, 9)), reducer)
            text = given[3]
            mine = ops.pool(given[0], text, given[1], given[2])
            with _disable_current_modes():
                fake = ops.pool(laid.to("meta"), text)
            assert (mine.shape, mine.dtype, mine.stride()) == (fake.shape, fake.dtype, fake.stride())


@pytest.mark.parametrize("reducer", [*RANKED, pk.Max(), pk.Soft(), pk.Mean(), pk.RankMean(0.3)], ids=repr)
def test_gradients_have_the_same_bits_again(reducer: pk.Reducer) -> None:
    """Of overlapping windows, where kernels that add as they come have others in every run."""
    x = torch.rand(2, 3, 9, 9, device=DEVICE)
    results = []
    for _ in range(2 if INTERPRETED else 20):
        leaf = x.clone().requires_grad_()
        y, _ = run(leaf, S(3, 1, 1).plan((9, 9)), reducer)
        y.square().sum().backward()
        results.append(leaf.grad)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_the_table_is_what_is_said_of_it() -> None:
    from poolkit.torch.triton import kernels, order

    assert {*kernels.FOLDS, pk.Stochastic} == set(triton.FOLDED)
    assert {*order.RANKED, pk.Ordinal} == set(triton.SORTED)


def test_forced_needs_the_interpreter(monkeypatch) -> None:
    monkeypatch.setattr(triton, "missing", lambda: "no Triton here")
    with pytest.raises(RuntimeError, match="no Triton here"):
        triton.Forced()


def test_a_triton_that_does_not_suit_is_told_of(monkeypatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"no {name}")

    monkeypatch.setattr(triton.importlib, "import_module", fail)
    assert triton.missing.__wrapped__() == "the installed Triton does not suit: no poolkit.torch.triton.kernels"
    monkeypatch.setattr(triton, "find_spec", lambda _: None)
    assert triton.missing.__wrapped__().startswith("Triton is not installed")


def test_without_triton_the_compositions_serve(monkeypatch, caplog) -> None:
    monkeypatch.setattr(triton, "missing", lambda: "Triton is not installed")
    triton._tell.cache_clear()
    x = torch.rand(1, 2, 6, 6, device=DEVICE)
    y = pk.max_pool2d(x, 2)
    assert ["Triton is not installed" in record.message for record in caplog.records] == [True]
    with composite.Forced():
        assert torch.equal(y, pk.max_pool2d(x, 2))


if not INTERPRETED:

    @pytest.mark.parametrize("reducer", [pk.Max(), pk.Mean(), pk.Soft(), pk.Median()], ids=repr)
    def test_compiled_graphs_hold_the_operators_whole(reducer: pk.Reducer) -> None:
        x = torch.rand(2, 3, 8, 8, device=DEVICE).requires_grad_()
        compiled = torch.compile(lambda x: pool(x.relu(), S(3, 2, 1), reducer) * 2, fullgraph=True)
        y = compiled(x)
        torch.testing.assert_close(y, pool(x.relu(), S(3, 2, 1), reducer) * 2)
        y.sum().backward()
        assert x.grad is not None
