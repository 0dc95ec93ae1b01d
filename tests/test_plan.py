"""Plans: geometry against brute force, integers that fit, and memory that is never touched."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import CASES, plan_of

import poolkit as pk
from poolkit import _core, reference
from poolkit.plan import MAX_CELLS, AxisPlan, output_size
from poolkit.window import plan_for

small = st.integers(1, 9)


def brute_windows(size, kernel, stride, before, after, dilation, ceil_mode):
    """Starts of the windows, found by walking: every one that fits, or (ceil) overhangs but starts in time."""
    effective = (kernel - 1) * dilation + 1
    starts, start = [], -before
    while start + effective <= size + after:
        starts.append(start)
        start += stride
    # ceil rounding adds at most one window: one that is not whole, and starts inside the input or its left padding
    room = size + before + after - effective
    if ceil_mode and room % stride != 0 and start < size and -(-room // stride) + 1 > len(starts):
        starts.append(start)
    return starts


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 30), small, small, st.integers(0, 6), st.integers(0, 6), st.integers(1, 4), st.booleans())
def test_output_size_counts_the_windows(size, kernel, stride, before, after, dilation, ceil_mode):
    effective = (kernel - 1) * dilation + 1
    if before + after > effective or max(before, after) >= effective:
        return
    wanted = brute_windows(size, kernel, stride, before, after, dilation, ceil_mode)
    assert max(output_size(size, kernel, stride, before, after, dilation, ceil_mode), 0) == len(wanted)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_axis_arrays_agree_with_the_oracle_and_the_core(case):
    plan = plan_of(case, (2, 3, *case.sizes))
    box = _core.offset_box(plan.spec, plan.starts)
    for axis, side in zip(plan.axes, box, strict=True):
        for window in range(axis.out):
            cells, padded = reference.taps(axis, window)
            start, stop = (a[0] if a.ndim == 2 else a for a in (axis.start, axis.stop))
            count, count_padded = (a[0] if a.ndim == 2 else a for a in (axis.count, axis.count_padded))
            assert list(range(start[window], stop[window], axis.step)) == cells
            assert count[window] == len(cells) > 0
            assert count_padded[window] == padded
            assert len(cells) <= side <= axis.size


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 25), small, st.integers(1, 5), st.integers(0, 4), st.integers(0, 4), st.integers(1, 6), st.booleans()
)
def test_every_plan_that_exists_is_legal(size, kernel, stride, before, after, dilation, ceil_mode):
    try:
        plan = pk.Sliding(kernel, stride, ((before, after),), dilation, ceil_mode).plan((size,))
    except pk.PoolError:
        return
    axis = plan.axes[0]
    for window in range(axis.out):
        cells, padded = reference.taps(axis, window)
        assert cells, "a window without a real cell"
        assert len(cells) == axis.count[window] <= padded == axis.count_padded[window] <= kernel


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_adaptive_bounds(size, out):
    axis = pk.Adaptive(out).plan((size,)).axes[0]
    assert axis.start.tolist() == [i * size // out for i in range(out)]
    assert axis.stop.tolist() == [-(-(i + 1) * size // out) for i in range(out)]


def test_adaptive_bounds_in_64_bits():
    axis = pk.Adaptive(70000).plan((40000,)).axes[0]
    assert axis.start[-1] == 69999 * 40000 // 70000
    assert axis.stop[-1] == 40000
    huge = AxisPlan("adaptive", 2**46, 3)
    assert huge.stop.tolist() == [-(-(i + 1) * 2**46 // 3) for i in range(3)]


def test_plans_are_cached_and_frozen():
    window = pk.Sliding(3, 2, 1)
    assert window.plan((9, 9)) is pk.Sliding(3, 2, 1).plan((9, 9))
    assert window.plan((9, 9)) is not window.plan((9, 10))
    axis = window.plan((9, 9)).axes[0]
    with pytest.raises(ValueError, match="read-only"):
        axis.start[0] = 5
    with pytest.raises(AttributeError):
        axis.out = 3


def test_every_parameter_is_part_of_the_key():
    base = {"kernel_size": 3, "stride": 2, "padding": 0, "dilation": 1, "ceil_mode": False}
    other = {"kernel_size": 4, "stride": 3, "padding": 1, "dilation": 2, "ceil_mode": True}
    plans = {(*pk.Sliding(**base).plan((12,)).spec, False)}
    for name, value in other.items():
        changed = base | {name: value}
        plans.add((*pk.Sliding(**changed).plan((12,)).spec, changed["ceil_mode"]))
    assert len(plans) == 6
    # equal numbers of other types are not let in through the cache
    pk.Sliding(2).plan((8,))
    for impostor in (2.0, True, np.float32(2)):
        with pytest.raises(pk.PoolTypeError):
            pk.Sliding(impostor)
        with pytest.raises(pk.PoolTypeError):
            pk.Sliding((impostor,))


def test_taps_outside_the_input_are_never_walked():
    """A kernel of 2**60 on four cells answers at once, with the right value."""
    x = np.array([[[1.0, 4.0, 2.0, 3.0]]])
    window = pk.Sliding(2**60, 1, 2**59)
    assert window.plan((4,)).out_shape == (5,)
    assert pk.pool(x, window, pk.Max()).tolist() == [[[4.0] * 5]]
    assert pk.pool(x, window, pk.Mean(count_include_pad=False)).tolist() == [[[2.5] * 5]]
    assert pk.pool(x, window, pk.Mean())[0, 0, 0] == 10 / 2**60
    assert pk.pool(x[None], pk.Sliding((1, 2**60), 1, (0, 2**59)), pk.Sum()).tolist() == [[[[10.0] * 5]]]


def test_the_product_of_padded_counts_may_exceed_64_bits():
    x = np.full((1, 1, 2, 2), 8.0)
    y = pk.pool(x, pk.Sliding(2**40, 1, 2**39), pk.Mean())
    assert y[0, 0, 0, 0] == pytest.approx(32.0 / 2.0**80, rel=1e-9)


@pytest.mark.parametrize("window", [pk.Adaptive(2**48), pk.Adaptive((2**30, 2**30)), pk.Adaptive(2**62)])
def test_outputs_beyond_any_memory_are_refused(window):
    with pytest.raises(pk.PoolError, match="output_size"):
        pk.pool(np.zeros((1, 1, 2, 2)[: (window.rank or 1) + 2]), window, pk.Max())


def test_broadcast_inputs_beyond_any_memory_are_refused():
    x = np.broadcast_to(np.int8(0), (1, 2**31, 2**31, 1))
    with pytest.raises(pk.PoolError, match="input x"):
        pk.max_pool2d(x, 1, data_format="channels_last")
    assert MAX_CELLS < 2**62


def test_plan_for_counts_the_bytes_of_the_output():
    shape = (1, 1, 2**40)
    assert plan_for(pk.Sliding(1), shape, 1, itemsize=1).out_shape == (2**40,)
    with pytest.raises(pk.PoolError, match="2\\*\\*47 bytes"):
        plan_for(pk.Sliding(1), shape, 1, itemsize=256)


def test_records_pickle():
    for record in (pk.Sliding(3, 2, "same"), pk.Adaptive((3, None)), pk.Fractional(2, output_ratio=0.5), pk.Lp(3)):
        assert pickle.loads(pickle.dumps(record)) == record
    with pytest.raises(pk.PoolError) as caught:
        pk.Sliding(0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert type(again) is pk.PoolError
