"""What counts as an array besides NumPy's own, `out=`, and what other threads do meanwhile."""

import array
import ctypes

import numpy as np
import pytest
from support import BF16, CASES, DRAWN, REDUCERS, float_data, in_process

import poolkit as pk
from poolkit import arrays

X = float_data((2, 3, 6, 7)).astype(np.float32)
W = pk.Sliding((3, 2), 2, 1)


class OnlyDLPack:
    """An array that can nothing but lend its memory."""

    def __init__(self, held, device=(1, 0)):
        self.held, self.device = held, device

    def __dlpack__(self, **options):
        if self.device != (1, 0):
            raise BufferError("in another memory")
        return self.held.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


def lenders():
    flat = X.reshape(2 * 3 * 6 * 7)
    cells = (((ctypes.c_float * 7) * 6) * 3) * 2
    read_only = X.copy()
    read_only.flags.writeable = False
    yield "memoryview", memoryview(X), X
    yield "read-only memoryview", memoryview(read_only), X
    yield "strided memoryview", memoryview(X)[::-1], X[::-1]
    yield "array.array", memoryview(array.array("f", flat.tolist())).cast("B").cast("f", X.shape), X
    yield "ctypes", cells.from_buffer_copy(X), X
    yield "bytes", memoryview(bytes(range(42))).cast("B", (1, 6, 7)), np.arange(42, dtype=np.uint8).reshape(1, 6, 7)
    yield "big-endian", memoryview(X.astype(">f4")), X
    yield "DLPack", OnlyDLPack(X), X
    yield "DLPack of integers", OnlyDLPack(X.astype(np.int16)), X.astype(np.int16)


@pytest.mark.parametrize(("given", "same"), [pytest.param(g, s, id=name) for name, g, s in lenders()])
def test_whatever_lends_its_memory_is_an_array(given, same):
    for reducer in (pk.Max(), pk.Mean()):
        y = pk.pool(given, W, reducer)
        assert type(y) is np.ndarray
        np.testing.assert_array_equal(y, pk.pool(same, W, reducer))


def test_lent_memory_is_read_where_it_lies():
    for given in (memoryview(X), OnlyDLPack(X)):
        assert np.shares_memory(arrays.check_array(given), X)


def test_a_flat_array_has_too_few_axes_and_says_so():
    with pytest.raises(pk.PoolError, match="1 axes"):
        pk.pool(array.array("d", [1.0, 2.0]), pk.Sliding(2), pk.Max())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([[1.0, 2.0]], "buffer protocol"),
        ("text", "buffer protocol"),
        (None, "buffer protocol"),
        (np.ma.masked_array(X), "MaskedArray"),
        (memoryview(np.zeros((1, 4), np.complex64)), "complex64"),
        (OnlyDLPack(X, device=(2, 0)), "memory of the CPU"),
    ],
)
def test_what_is_no_array(given, text):
    with pytest.raises(pk.PoolTypeError, match=text):
        pk.max_pool2d(given, 2)


@pytest.mark.parametrize("case", [CASES[1], CASES[13], CASES[14], CASES[17], CASES[21], CASES[39]], ids=str)
def test_results_are_written_where_asked(case):
    x = float_data((2, 3, *case.sizes)).astype(np.float32)
    for reducer in [*REDUCERS, *DRAWN]:
        try:
            wanted = pk.pool(x, case.window, reducer, seed=1)
        except pk.PoolError:
            continue
        room = np.full((*wanted.shape, 2), 7, wanted.dtype)
        out = room[..., 0]  # strides of its own
        assert pk.pool(x, case.window, reducer, seed=1, out=out) is out
        np.testing.assert_array_equal(out, wanted)
        assert (room[..., 1] == 7).all()
        if not reducer.selects:
            continue
        pair = np.zeros_like(wanted), np.zeros(wanted.shape, np.int64)
        assert pk.pool(x, case.window, reducer, seed=1, return_indices=True, out=pair) is pair
        for got, right in zip(pair, pk.pool(x, case.window, reducer, seed=1, return_indices=True), strict=True):
            np.testing.assert_array_equal(got, right)


def test_out_in_every_layout_and_dtype():
    for dtype in (np.float64, np.float16, BF16, np.uint8):
        x = abs(X).astype(dtype)
        for layout, given in (
            ("channels_first", x),
            ("channels_last", np.moveaxis(x, 1, -1)),
            ("channels_first", x[0]),
        ):
            whole = (pk.Global(), pk.Global(keepdims=False)) if given.ndim == 4 else (pk.Adaptive((1, 1)),)
            for window in (W, *whole):
                for reducer in (pk.Max(), pk.Sum()):
                    wanted = pk.pool(given, window, reducer, data_format=layout)
                    out = np.empty(wanted.shape, wanted.dtype)
                    assert pk.pool(given, window, reducer, data_format=layout, out=out) is out
                    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("name", [n for n in pk.__all__ if n.endswith("2d") and "unpool" not in n])
def test_every_named_function_has_out(name):
    arguments = {"lp_pool2d": (2, 2), "quantile_pool2d": (2, 0.3), "topk_mean_pool2d": (2, 2)}
    arguments |= {"ordinal_pool2d": (2, (0.5, 0.5)), "filter_pool2d": (2, (0.25,) * 4)}
    options = {"seed": 1} if any(word in name for word in ("stochastic", "drop", "fractional")) else {}
    options |= {"output_size": 3} if "fractional" in name else {}
    function, given = getattr(pk, name), arguments.get(name, (2,))
    wanted = function(X, *given, **options)
    out = np.empty_like(wanted)
    assert function(X, *given, **options, out=out) is out
    np.testing.assert_array_equal(out, wanted)


def test_unpooling_has_out():
    y, places = pk.max_pool2d(X, 2, return_indices=True)
    out = np.full((2, 3, 6, 7), 5, np.float32)
    assert pk.max_unpool2d(y, places, 2, output_size=(6, 7), out=out) is out
    np.testing.assert_array_equal(out, pk.max_unpool2d(y, places, 2, output_size=(6, 7)))
    last = np.empty((2, 6, 7, 3), np.float32)
    moved = [np.moveaxis(one, 1, -1) for one in (y, places)]
    assert pk.max_unpool2d(*moved, 2, output_size=(6, 7), data_format="channels_last", out=last) is last
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), out)
    with pytest.raises(pk.PoolError, match="out of shape"):
        pk.max_unpool2d(y, places, 2, out=out)
    with pytest.raises(pk.PoolError, match="memory of the input"):
        pk.max_unpool2d(out[..., :3, :3], places, 2, output_size=(6, 7), out=out)


def frozen(a):
    a.flags.writeable = False
    return a


BIG = np.zeros((4, 3, 6, 7), np.float32)
ROOM = np.zeros(10_000, np.float32)


@pytest.mark.parametrize(
    ("x", "out", "text"),
    [
        (X, np.empty((2, 3, 3, 4)), "dtype of the result"),
        (X, np.empty((2, 3, 3, 4), ">f4"), "dtype of the result"),
        (X, np.empty((2, 3, 4, 4), np.float32), r"\(2, 3, 3, 4\)"),
        (X, np.empty((3, 3, 4), np.float32), r"\(2, 3, 3, 4\)"),
        (X, frozen(np.empty((2, 3, 3, 4), np.float32)), "written to"),
        (X, np.broadcast_to(np.float32(0), (2, 3, 3, 4)), "written to"),
        (X, np.lib.stride_tricks.as_strided(ROOM, (2, 3, 3, 4), (144, 0, 16, 4)), "cell of its own"),
        (X, [0.0], "NumPy array"),
        (X, "y", "NumPy array"),
        (BIG[:2], BIG[1:3, :, :3, :4], "memory of the input"),
        (BIG[0], BIG[0, :, :3, :4], "memory of the input"),
    ],
)
def test_an_out_that_cannot_take_the_result(x, out, text):
    before = x.copy()
    with pytest.raises(pk.PoolError, match=text):
        pk.pool(x, pk.Sliding((3, 2), 2, (1, 1)), pk.Max(), out=out)
    np.testing.assert_array_equal(x, before)


def test_out_beside_the_input_in_one_memory_is_taken():
    x, out = ROOM[:252].reshape(2, 3, 6, 7), ROOM[252:396].reshape(2, 3, 4, 6)[..., :3, :4]
    x[:] = X
    np.testing.assert_array_equal(pk.pool(x, W, pk.Max(), out=out), pk.pool(X, W, pk.Max()))


def test_out_with_indices_is_a_pair():
    y = np.empty((2, 3, 3, 3), np.float32)
    for bad in (y, (y,), (y, y, y)):
        with pytest.raises(pk.PoolTypeError, match="pair"):
            pk.max_pool2d(X, 2, return_indices=True, out=bad)
    with pytest.raises(pk.PoolTypeError, match=r"out\[1\]"):
        pk.max_pool2d(X, 2, return_indices=True, out=(y, y.copy()))
    room = np.empty((2, 3, 3, 3, 2), np.int64)
    with pytest.raises(pk.PoolError, match="one memory"):
        pk.pool(X.astype(np.int64), pk.Sliding((2, 2)), pk.Max(), return_indices=True, out=(room[..., 0], room[..., 1]))


def test_out_is_not_for_tensors():
    torch = pytest.importorskip("torch")
    for call in (pk.max_pool2d, pk.median_pool2d):
        with pytest.raises(pk.PoolError, match="NumPy arrays"):
            call(torch.zeros(1, 1, 4, 4), 2, out=np.empty((1, 1, 2, 2), np.float32))


PROGRESS = """
import sys, threading, time, numpy as np, poolkit as pk
sys.setswitchinterval(60)           # nobody gives the interpreter up but who lets go of it
pk.set_num_threads(1)
x = np.random.default_rng(0).random((8, 8, 256, 256), np.float32)
ticks, stop, ready = [], threading.Event(), threading.Event()
def count():
    ready.set()
    while not stop.is_set():
        ticks.append(time.perf_counter())
        time.sleep(0.0005)
thread = threading.Thread(target=count, daemon=True)
thread.start()
ready.wait()
begin = time.perf_counter()
pk.pool(x, pk.Sliding(31, 1, 15), pk.Median())
end = time.perf_counter()
stop.set()
inside = [t for t in ticks if begin < t < end]
print(end - begin, len(inside))
"""


def test_other_threads_go_on_while_a_pooling_runs():
    seconds, ticks = map(float, in_process(PROGRESS.replace("(8, 8, 256, 256)", "(1, 2, 64, 64)"), seconds=120).split())
    assert seconds > 0.02, "too short to tell"
    assert ticks >= 5
