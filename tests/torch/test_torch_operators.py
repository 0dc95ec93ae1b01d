"""torch.ops.poolkit.*: registered as torch demands, and proof against whatever is handed to them directly."""

import faulthandler
import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import poolkit as pk
from poolkit.torch import ops
from poolkit.torch.functional import pool

MAX = "0(2.0,0.0,1.0,0,1,1,0.5,0,0) 0(6,3,2,2,0,0,1) 0(5,3,3,2,1,1,1)"
SOFT = MAX.replace("0(2.0", "8(2.0")
MEAN = MAX.replace("0(2.0", "3(2.0")
RMS = MAX.replace("0(2.0", "6(2.0")
FRACTIONAL = "0(2.0,0.0,1.0,0,1,1,0.5,0,0) 2(6,3,2,1,0,0,1) 2(5,2,2,1,0,0,1)"
TILES = "0(2.0,0.0,1.0,0,1,1,0.5,0,0) 2(6,3,3,1,0,1,1) 2(5,2,4,1,0,2,1)"


def layouts(x):
    yield x
    yield x.contiguous(memory_format=torch.channels_last)
    yield x.transpose(2, 3).contiguous().transpose(2, 3)
    yield x[0]
    yield x.expand(2, 3, 6, 5)
    yield x[:0]


def starts(planes=6):
    return torch.tensor([[0, 2, 4, 0, 3]]).repeat(planes, 1)


def calls():
    """(operator, arguments) of legal calls of every operator, in many layouts."""
    base = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    for x in layouts(base):
        y, indices = ops.pool_with_indices(x, MAX)
        _, offsets = ops.pool_with_offsets(x, MAX, None, 1)
        soft, lse = ops.pool_with_lse(x, SOFT)
        yield "pool", (x, MEAN, None)
        yield "pool_with_offsets", (x, MAX, None, 1)
        yield "pool_with_indices", (x, MAX, None)
        yield "pool_with_offsets_and_indices", (x, MAX, None, 4)
        yield "pool_with_lse", (x, SOFT, None)
        yield "pool_backward", (y, MAX, None, None, None, None, offsets, ops.is_channels_last(x, 2))
        yield "pool_backward", (soft, SOFT, None, x, soft, lse, None, False)
        yield "unpool", (y, indices, [6, 5])
        yield "unpool_backward", (x, indices, 2, False)
    yield "pool", (base, FRACTIONAL, starts())
    yield "pool_with_offsets", (base, FRACTIONAL, starts(1), 2)
    yield "pool", (base, TILES, starts(1))


CALLS = list(calls())


@pytest.mark.parametrize("case", range(len(CALLS)), ids=[f"{name}-{i}" for i, (name, _) in enumerate(CALLS)])
def test_opcheck(case):
    name, arguments = CALLS[case]
    tests = ["test_schema", "test_faketensor"]
    torch.library.opcheck(getattr(torch.ops.poolkit, name).default, arguments, test_utils=tests)


@pytest.mark.parametrize("dtype", ops.DTYPES, ids=str)
def test_meta_tensors_get_the_same_shapes_dtypes_and_strides(dtype):
    x = torch.zeros(2, 3, 6, 5).to(dtype)
    floating = [pk.Lp(2), pk.Soft()] if dtype.is_floating_point else []
    for reducer in (pk.Max(), pk.Sum(), pk.Mean(), *floating):
        for t in layouts(x):
            y = pool(t, pk.Sliding(2), reducer, rank=2)
            meta = pool(t.to("meta"), pk.Sliding(2), reducer, rank=2)
            assert (meta.shape, meta.dtype) == (y.shape, y.dtype)
            meta = ops.pool(torch.empty_strided(t.shape, t.stride(), dtype=dtype, device="meta"), MAX)
            assert meta.stride() == ops.pool(t, MAX).stride()


HUGE = 2**62
X = "torch.randn(2, 3, 6, 5)"
GARBAGE = {
    "empty plan": f"P.pool({X}, '')",
    "no axes": f"P.pool({X}, '0(2.0,0.0,1.0,0,1,1,0.5,0,0)')",
    "words": f"P.pool({X}, 'max 2x2')",
    "a very long plan": f"P.pool({X}, '0' * 10**7)",
    "zero bytes": f"P.pool({X}, MAX + chr(0))",
    "unknown reducer": f"P.pool({X}, '99' + MAX[1:])",
    "unknown kind": f"P.pool({X}, MAX.replace(' 0(6', ' 7(6'))",
    "four axes": "P.pool(torch.randn(1, 1, 6, 6, 6, 6), MAX[:21] + ' 0(6,3,2,2,0,0,1)' * 4)",
    "wrong rank": "P.pool(torch.randn(6, 5), MAX)",
    "wrong size": "P.pool(torch.randn(2, 3, 7, 5), MAX)",
    "no channels": "P.pool(torch.randn(2, 0, 6, 5), MAX)",
    "kernel 0": f"P.pool({X}, MAX.replace('(6,3,2,', '(6,3,0,'))",
    "stride 0": f"P.pool({X}, MAX.replace('(6,3,2,2', '(6,3,2,0'))",
    "dilation 0": f"P.pool_with_offsets({X}, MAX.replace('0,0,1)', '0,0,0)'), None, 1)",
    "padding beyond the kernel": f"P.pool({X}, MAX.replace('0,0,1)', '5,5,1)'))",
    "negative padding": f"P.pool({X}, MAX.replace('0,0,1)', '-1,0,1)'))",
    "more windows than fit": f"P.pool({X}, MAX.replace('(6,3,', '(6,9,'))",
    "dilation over everything": f"P.pool({X}, MAX.replace('(6,3,2,2,0,0,1)', '(6,3,3,1,3,3,7)'))",
    "huge kernel": f"P.pool({X}, MAX.replace('(6,3,2,', '(6,3,{HUGE},').replace('0,0,1)', '0,0,{HUGE})'))",
    "huge output": f"P.pool({X}, MAX.replace('(6,3,', '(6,{HUGE},'))",
    "large output": f"P.pool({X}, MAX.replace('(6,3,', '(6,{2**40},'))",
    "huge adaptive output": f"P.pool({X}, MAX.replace(' 0(6,3,', ' 1(6,{2**44},'))",
    "huge stride": f"P.pool({X}, MAX.replace('(6,3,2,2', '(6,3,2,{HUGE}'))",
    "numbers beyond 64 bits": f"P.pool({X}, MAX.replace('(6,3,', '(6,{2**70},'))",
    "p 0": f"P.pool({X}, '4(0.0' + MAX[5:])",
    "p nan": f"P.pool({X}, '4(nan' + MAX[5:])",
    "beta 0": f"P.pool({X}, SOFT.replace('0.0,1.0', '0.0,0.0'))",
    "bool": f"P.pool({X} > 0, MAX)",
    "complex": f"P.pool({X} + 0j, MAX)",
    "ints for a float reducer": f"P.pool({X}.int(), SOFT)",
    "offsets of a mean": f"P.pool_with_offsets({X}, MEAN, None, 1)",
    "indices of a soft pool": f"P.pool_with_indices({X}, SOFT)",
    "lse of a maximum": f"P.pool_with_lse({X}, MAX)",
    "offset bytes 3": f"P.pool_with_offsets({X}, MAX, None, 3)",
    "offset bytes too few": "P.pool_with_offsets(torch.randn(1, 1, 400), MAX[:21] + '0(400,1,400,1,0,0,1)', None, 1)",
    "starts missing": f"P.pool({X}, FRACTIONAL)",
    "starts of no use": f"P.pool({X}, MAX, torch.zeros(6, 5).long())",
    "starts too few": f"P.pool({X}, FRACTIONAL, torch.zeros(6, 4).long())",
    "starts for other planes": f"P.pool({X}, FRACTIONAL, torch.zeros(5, 5).long())",
    "starts negative": f"P.pool({X}, FRACTIONAL, torch.zeros(6, 5).long() - 1)",
    "starts at the end": f"P.pool({X}, FRACTIONAL, torch.zeros(6, 5).long() + 5)",
    "starts huge": f"P.pool({X}, FRACTIONAL, torch.zeros(6, 5).long() + {2**62})",
    "starts of floats": f"P.pool({X}, FRACTIONAL, torch.zeros(6, 5))",
    "starts that fall": f"P.pool({X}, TILES, torch.tensor([[0, 4, 2, 0, 3]]))",
    "starts that stand": f"P.pool({X}, TILES, torch.tensor([[0, 2, 4, 3, 3]]))",
    "starts too far apart": f"P.pool({X}, TILES, torch.tensor([[0, 4, 5, 0, 3]]))",
    "starts too far from the end": f"P.pool({X}, TILES, torch.tensor([[0, 1, 2, 0, 3]]))",
    "starts below zero": f"P.pool({X}, TILES, torch.tensor([[-1, 2, 4, 0, 3]]))",
    "starts beyond the end": f"P.pool({X}, TILES, torch.tensor([[0, 2, {2**62}, 0, 3]]))",
    "gradient of another shape": f"P.pool_backward({X}, MAX, None, None, None, None, OFF, False)",
    "gradient of ints": "P.pool_backward(DY.long(), MAX, None, None, None, None, OFF, False)",
    "gradient without offsets": "P.pool_backward(DY, MAX, None, None, None, None, None, False)",
    "gradient without x": "P.pool_backward(DY, SOFT, None, None, DY, DY, None, False)",
    "gradient with lse of another shape": f"P.pool_backward(DY, SOFT, None, {X}, DY, DY[..., :1], None, False)",
    "gradient with x of another dtype": f"P.pool_backward(DY, RMS, None, {X}.double(), DY, None, None, False)",
    "gradient with x of another shape": f"P.pool_backward(DY, RMS, None, {X}[:1], DY, None, None, False)",
    "gradient with y of another shape": f"P.pool_backward(DY, RMS, None, {X}, DY[..., :1], None, None, False)",
    "offsets of another shape": "P.pool_backward(DY, MAX, None, None, None, None, OFF[:1], False)",
    "offsets of another dtype": "P.pool_backward(DY, MAX, None, None, None, None, OFF.long(), False)",
    "offsets outside the window": "P.pool_backward(DY, MAX, None, None, None, None, OFF + 250, False)",
    "offsets negative": "P.pool_backward(DY, MAX, None, None, None, None, OFF.int() - 9, False)",
    "offsets huge": "P.pool_backward(DY, MAX, None, None, None, None, OFF.int() + 2**30, False)",
    "unpool beyond": "P.unpool(DY, DY.long() * 0 + 30, [6, 5])",
    "unpool before": "P.unpool(DY, DY.long() * 0 - 1, [6, 5])",
    "unpool far": "P.unpool(DY, DY.long() * 0 + 2**62, [6, 5])",
    "unpool without sizes": "P.unpool(DY, DY.long() * 0, [])",
    "unpool with four sizes": "P.unpool(DY, DY.long() * 0, [6, 5, 5, 5])",
    "unpool to nothing": "P.unpool(DY, DY.long() * 0, [0, 5])",
    "unpool to a negative size": "P.unpool(DY, DY.long() * 0, [-6, -5])",
    "unpool to a huge size": "P.unpool(DY, DY.long() * 0, [2**40, 2**40])",
    "unpool by other planes": "P.unpool(DY, DY[:1].long() * 0, [6, 5])",
    "unpool by ints of 32 bits": "P.unpool(DY, DY.int() * 0, [6, 5])",
    "unpool gradient beyond": f"P.unpool_backward({X}, DY.long() * 0 + 30, 2, False)",
    "unpool gradient of other planes": f"P.unpool_backward({X}[:1], DY.long() * 0, 2, False)",
    "unpool gradient of rank 0": f"P.unpool_backward({X}, DY.long() * 0, 0, False)",
    "unpool gradient of rank 9": f"P.unpool_backward({X}, DY.long() * 0, 9, False)",
    "unpool gradient of rank -1": f"P.unpool_backward({X}, DY.long() * 0, -1, False)",
}


@pytest.mark.parametrize("stride", [1, 2])
def test_no_place_takes_an_offset_beyond_its_clipped_window(stride):
    """Neither where cells collect their gradient nor where outputs add theirs."""
    size = (5, 9)
    out = [(cells - 1) // stride + 1 for cells in size]
    axes = [f"0({cells},{windows},3,{stride},1,1,1)" for cells, windows in zip(size, out, strict=True)]
    plan = " ".join([MAX.split(maxsplit=1)[0], *axes])
    dy = torch.ones(1, 1, *out)
    for place in range(out[0] * out[1]):
        window = divmod(place, out[1])
        taps = [
            sum(0 <= o * stride - 1 + tap < cells for tap in range(3)) for o, cells in zip(window, size, strict=True)
        ]
        for offset in range(12):
            offsets = torch.zeros(1, 1, *out, dtype=torch.uint8)
            offsets.view(-1)[place] = offset
            row, column = divmod(offset, 3)
            arguments = (dy, plan, None, None, None, None, offsets, False)
            if row < taps[0] and column < taps[1]:
                assert ops.pool_backward(*arguments).sum() == dy.sum()
            else:
                with pytest.raises(RuntimeError, match="outside its window"):
                    ops.pool_backward(*arguments)


def _attempt(code, answer):
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a refused allocation is reported on stderr as well
    torch.set_num_threads(1)
    names = {"torch": torch, "P": torch.ops.poolkit, "MAX": MAX, "SOFT": SOFT, "MEAN": MEAN, "RMS": RMS}
    names |= {"FRACTIONAL": FRACTIONAL, "DY": torch.ones(2, 3, 3, 3)}
    names["OFF"] = torch.zeros(2, 3, 3, 3, dtype=torch.uint8)
    try:
        result = eval(code, names)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        answer.send(f"{type(error).__name__}: {error}")
    else:
        answer.send(f"returned {str(result)[:200]}")


def attempt(code, seconds=20):
    """What the code raised or returned in a process of its own; a crash or a hang fails the test."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_attempt, args=(code, send))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        pytest.fail(f"no answer within {seconds} seconds: {code}")
    assert process.exitcode == 0, f"ended with {process.exitcode}: {code}"
    return receive.recv()


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_an_error(name):
    answer = attempt(GARBAGE[name])
    assert "Error" in answer.split(":")[0], answer


def test_a_huge_kernel_over_four_elements_answers_at_once():
    x = torch.tensor([[[1.0, 4.0, 2.0, 3.0]]])
    window = pk.Sliding(2**60, stride=1, padding=2**59)
    assert pool(x, window, pk.Max()).tolist() == [[[4.0] * 5]]
    assert pool(x, pk.Sliding(2**60, stride=2**60, padding=2**59), pk.Max()).tolist() == [[[4.0]]]


def test_reading_a_plan_is_the_inverse_of_writing_it():
    tiles = pk.Fractional(output_size=3, style="tensorflow")
    for window in (pk.Sliding(3, 2, 1), pk.Adaptive(2), pk.Fractional(2, 3), tiles):
        for reducer in (pk.Max(), pk.Lp(float("inf")), pk.PowerMean(1e-30, 1e20), pk.Soft(-1 / 3), pk.Mean(divisor=7)):
            spec = window.plan((7, 8)).spec
            what = ops.decode(ops.encode(reducer.code, reducer.params, spec))
            assert (what.reducer, what.params, what.spec) == (reducer.code, reducer.params, spec)
            assert (what.sizes, what.rank) == ((7, 8), 2)


@pytest.mark.skipif(ops.binding == "python", reason="this is what runs here already")
def test_without_the_compiled_extension_python_serves_the_same_operators():
    tests = [str(Path(__file__).with_name(f"test_torch_{name}.py")) for name in ("values", "modules", "operators")]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not geometry and not 4_ulp", *tests],
        env={**os.environ, "POOLKIT_TORCH_BINDING": "python", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:]


@pytest.mark.skipif(ops.binding == "python", reason="asks for the compiled extension")
def test_the_binding_can_be_chosen():
    code = "from poolkit.torch import ops; print(ops.binding)"
    for wanted, status in (("compiled", 0), ("nonsense", 1)):
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "POOLKIT_TORCH_BINDING": wanted},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == status
        assert wanted in result.stdout + result.stderr
