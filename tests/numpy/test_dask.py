"""Pooling of dask arrays: the same as of one array, wherever the chunks meet, in memory that holds no whole image."""

import dask.array as da
import numpy as np
import pytest
from support import ADDING, CASES, CHOOSING, TOLERANCE, assert_close, float_data, in_process

import poolkit as pk
import poolkit.dask

REDUCERS = [*CHOOSING, *ADDING, pk.Lp(3), pk.Soft(), pk.Median(), pk.Std(), pk.TopKMean(1)]


def chunked(x, chunk, rank):
    return da.from_array(x, chunks=(1, 2, *(chunk,) * rank))


def same(got, wanted, reducer):
    assert got.dtype == wanted.dtype
    if reducer in (pk.Max(), pk.Min(), pk.Median(), pk.TopKMean(1)):
        np.testing.assert_array_equal(got, wanted)
    else:
        assert_close(got, wanted.astype(np.float64), 4 * TOLERANCE["float64"], scale=1.0)


@pytest.mark.parametrize("case", [case for case in CASES if not isinstance(case.window, pk.Global)], ids=str)
def test_chunks_of_any_size_give_what_one_array_gives(case):
    x, rank = float_data((2, 3, *case.sizes)), len(case.sizes)
    several = 0
    for number, reducer in enumerate(REDUCERS):
        wanted = pk.pool(x, case.window, reducer, seed=3)
        chunk = (1, 2, 3, 4, 5)[number % 5]
        try:
            y = pk.dask.pool(chunked(x, chunk, rank), case.window, reducer, seed=3)
        except pk.PoolError as error:
            if not isinstance(case.window, pk.Adaptive) or "common divisor" not in error.rule:
                raise
            y = pk.dask.pool(da.from_array(x, chunks=(1, 2, *case.sizes)), case.window, reducer)
        several += max(y.numblocks[2:]) > 1
        assert y.shape == wanted.shape
        same(y.compute(scheduler="synchronous"), wanted, reducer)
    if isinstance(case.window, pk.Sliding) and min(case.sizes) > 8 and case.window.kernel_size != 12:
        assert several > 0


def test_adaptive_windows_are_parted_where_input_and_output_have_a_common_divisor():
    x = float_data((1, 2, 12, 18))
    y = pk.dask.pool(da.from_array(x, chunks=(1, 1, 5, 6)), pk.Adaptive((8, 12)), pk.Mean())
    assert max(y.numblocks[2:]) > 1
    assert_close(y.compute(scheduler="synchronous"), pk.pool(x, pk.Adaptive((8, 12)), pk.Mean()), 1e-15)


@pytest.mark.parametrize(
    "reducer", [*CHOOSING, *ADDING, pk.Lp(2.5), pk.RMS(), pk.LogSumExp(), pk.LogSumExp(-2.0, mean=False)]
)
def test_whole_planes_are_joined_from_their_chunks(reducer):
    x = float_data((2, 3, 9, 11))
    for window in (pk.Global(), pk.Global(keepdims=False), pk.Adaptive((1, 1))):
        y = pk.dask.pool(chunked(x, 4, 2), window, reducer)
        same(y.compute(scheduler="synchronous"), pk.pool(x, window, reducer), reducer)
    if reducer.integers:
        whole = np.random.default_rng(0).integers(-100, 100, (1, 2, 9, 11), np.int16)
        y = pk.dask.pool(chunked(whole, 4, 2), pk.Global(), reducer).compute(scheduler="synchronous")
        np.testing.assert_array_equal(y, pk.pool(whole, pk.Global(), reducer))
        assert y.dtype == pk.pool(whole, pk.Global(), reducer).dtype


def test_layouts_dtypes_and_unbatched_arrays():
    x = float_data((2, 3, 8, 9)).astype(np.float32)
    window = pk.Sliding((3, 2), 2, 1)
    last = da.from_array(np.moveaxis(x, 1, -1), chunks=(1, 3, 4, 2))
    y = pk.dask.pool(last, window, pk.Max(), data_format="channels_last").compute(scheduler="synchronous")
    np.testing.assert_array_equal(np.moveaxis(y, -1, 1), pk.pool(x, window, pk.Max()))
    y = pk.dask.pool(da.from_array(x[0], chunks=(2, 4, 4)), window, pk.Max()).compute(scheduler="synchronous")
    np.testing.assert_array_equal(y, pk.pool(x[0], window, pk.Max()))
    whole = da.from_array((x * 16).astype(">i4"), chunks=(1, 3, 3, 3))
    y = pk.dask.pool(whole, window, pk.Sum())
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y.compute(scheduler="synchronous"), pk.pool((x * 16).astype("i4"), window, pk.Sum()))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: pk.dask.pool(np.ones((1, 1, 4)), pk.Sliding(2), pk.Max()), "dask array"),
        (lambda x: pk.dask.pool(x, pk.Sliding(9), pk.Max()), "kernel_size"),
        (lambda x: pk.dask.pool(x, pk.Sliding(2), pk.Stochastic()), "uniforms"),
        (lambda x: pk.dask.pool(x, pk.Global(), pk.Median()), "cannot be joined"),
        (lambda x: pk.dask.pool(x, pk.Adaptive((3, 3)), pk.Max()), "common divisor"),
        (lambda x: pk.dask.pool(x > 0, pk.Sliding(2), pk.Max()), "dtype"),
        (lambda x: pk.dask.pool(x.astype(int), pk.Sliding(2), pk.Soft()), "floating"),
        (lambda x: pk.dask.pool(x[:, :, x[0, 0, :, 0] > 0], pk.Sliding(2), pk.Max()), "known"),
        (lambda x: pk.dask.pool(x, 2, pk.Max()), "window"),
        (lambda x: pk.dask.pool(x, pk.Sliding(2), pk.Max(), data_format="NHWC"), "data_format"),
    ],
)
def test_what_cannot_be_done_is_an_error_before_any_work(call, text):
    x = da.from_array(np.ones((1, 2, 8, 7)), chunks=(1, 1, 4, 4))
    with pytest.raises(pk.PoolError, match=text):
        call(x)


LARGER_THAN_MEMORY = """
import gc, pathlib, sys
import dask, dask.array as da, numpy as np, zarr
import poolkit as pk, poolkit.dask
dask.config.set(scheduler="synchronous")
shape = (1, 1, 512, 768, 1024)
size = int(np.prod(shape))
volume = zarr.create_array(PLACE, shape=shape, chunks=(1, 1, 64, 256, 256), dtype="uint8", compressors=None)
_, y, x = np.ogrid[:1, :768, :1024]
def slab(begin, end):
    z = np.arange(begin, end)[:, None, None]
    return ((z * 7 + y * 3 + x * 5 + z * y // 11) % 251).astype(np.uint8)
window = pk.Sliding((5, 3, 3), (4, 3, 2), ((2, 1), (1, 1), (0, 1)))
warm = da.ones((1, 1, 8, 8, 8), chunks=(1, 1, 4, 4, 4), dtype=np.uint8)
pk.dask.pool(warm, window, pk.Max()).compute()
for begin in range(0, 512, 16):
    volume[0, 0, begin:begin + 16] = slab(begin, begin + 16)
gc.collect()
status = pathlib.Path("/proc/self/status").read_text().splitlines()
used = 1024 * next(int(line.split()[1]) for line in status if "VmData" in line)
limit = used + 96 * 2**20
assert size > limit, (size, limit)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    volume[:]
    print("the limit does not hold")
except MemoryError:
    pass
pooled = pk.dask.pool(da.from_zarr(volume), window, pk.Max())
chunks = (1, 1, 16, 128, 128)
out = zarr.create_array(PLACE + ".out", shape=pooled.shape, chunks=chunks, dtype="uint8", compressors=None)
da.store(pooled.rechunk(chunks), out)
top = int(da.max(pk.dask.pool(da.from_zarr(volume), pk.Global(), pk.Max())).compute())
assert top == 250, top
for o in (0, 15, 16, 63, 127):
    begin = max(4 * o - 2, 0)
    lines = slab(begin, min(4 * o + 3, 512)).max(0)[None, None]
    wanted = pk.pool(lines, pk.Sliding((3, 3), (3, 2), ((1, 1), (0, 1))), pk.Max())
    assert np.array_equal(out[0, 0, o], wanted[0, 0]), o
print("done")
"""


def test_a_volume_in_zarr_larger_than_the_memory_limit(tmp_path):
    code = f"PLACE = {str(tmp_path / 'volume.zarr')!r}\n{LARGER_THAN_MEMORY}"
    settings = {"POOLKIT_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "ZARR_THREADING__MAX_WORKERS": "1"}
    assert in_process(code, seconds=300, gigabytes=16, env=settings).strip() == "done"
