"""The operators as torch knows them: what opcheck says, one schema in both bindings, autocast and FLOPs."""

from __future__ import annotations

import pytest
import torch
from support import REDUCERS
from torch.utils.flop_counter import FlopCounterMode

import poolkit as pk
from poolkit import nn
from poolkit.reducer import REDUCERS as KINDS
from poolkit.torch import autocast, composite, flops, ops

SIZES = (6, 5)
WINDOW = pk.Sliding((2, 3), (2, 2), (0, 1))


def text(reducer: pk.Reducer, window: pk.Sliding | pk.Fractional = WINDOW) -> str:
    return ops.encode(reducer.code, reducer.params, window.plan(SIZES).spec)


def laid(layout: str) -> torch.Tensor:
    x = torch.randn(2, 3, *SIZES, generator=torch.Generator().manual_seed(0))
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    return x.transpose(2, 3).contiguous().transpose(2, 3) if layout == "permuted" else x


def arguments_of(name: str, x: torch.Tensor):
    """One legal call of each operator."""
    last = ops.is_channels_last(x, 2)
    y, indices = ops.pool_with_indices(x, text(pk.Max()))
    _, offsets = ops.pool_with_offsets(x, text(pk.Max()), None, 1)
    weights, power = torch.rand(3, 6), torch.full_like(y, 3.0)
    return {
        "pool": (x, text(pk.Filter((1.0,))), None, weights),
        "pool_with_offsets": (x, text(pk.Max()), None, 1),
        "pool_with_indices": (x, text(pk.Stochastic()), None, torch.rand_like(y)),
        "pool_with_offsets_and_indices": (x, text(pk.Min()), None, 2),
        "pool_with_lse": (x, text(pk.Soft()), None),
        "pool_backward": (y, text(pk.Max()), None, None, None, None, offsets, last),
        "pool_backward_extra": (y, text(pk.GeM()), None, x, None, None, None, last, power),
        "unpool": (y, indices, list(SIZES)),
        "unpool_backward": (x, indices, 2, last),
    }[name]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "permuted"])
@pytest.mark.parametrize("name", composite.OPERATORS)
def test_opcheck(name: str, layout: str) -> None:
    """All that torch asks of an operator: schema, fake tensors, autograd keys, tracing with dynamic sizes."""
    results = torch.library.opcheck(getattr(ops, name), arguments_of(name, laid(layout)))
    assert set(results.values()) == {"SUCCESS"}
    assert len(results) == 4


def test_both_bindings_have_one_schema() -> None:
    """What Python registers without the compiled extension is what the extension registers."""
    assert len(ops.SCHEMAS) == len(composite.OPERATORS) == len(flops.FORMULAS) == 9
    for schema in ops.SCHEMAS:
        name = schema.partition("(")[0]
        registered = torch._C.parse_schema(str(getattr(ops, name)._schema))
        assert registered == torch._C.parse_schema(f"poolkit::{schema}")


DELICATE = {pk.Lp, pk.PowerMean, pk.RMS, pk.LogSumExp, pk.Soft, pk.Var, pk.Std, pk.Ada, pk.Boltzmann, pk.GeM}


@pytest.mark.parametrize("half", autocast.HALVES, ids=str)
def test_autocast_widens_powers_and_exponentials_alone(half: torch.dtype) -> None:
    assert {kind for kind in KINDS if kind.delicate} == DELICATE
    x = torch.randn(2, 3, *SIZES)
    for reducer in REDUCERS:
        window = WINDOW if not isinstance(reducer, pk.Filter) else pk.Sliding(2)
        wide = torch.float32 if reducer.delicate else half
        leaf = x.to(half).requires_grad_()
        with torch.autocast("cpu", dtype=half):
            y = pk.pool(leaf, window, reducer)
            assert pk.pool(x, window, reducer).dtype == torch.float32
        assert y.dtype == wide
        torch.testing.assert_close(y, pk.pool(x.to(half).to(wide), window, reducer))
        (gradient,) = torch.autograd.grad(y.sum(), leaf)
        assert gradient.dtype == half
        assert pk.pool(leaf, window, reducer).dtype == half  # outside of autocast


def test_autocast_of_the_operators_themselves() -> None:
    x = torch.randn(2, 3, *SIZES).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.pool(x, text(pk.Soft())).dtype == torch.float32
        assert {t.dtype for t in ops.pool_with_lse(x, text(pk.Soft()))} == {torch.float32}
        assert ops.pool(x, text(pk.Max())).dtype == torch.bfloat16
        assert ops.pool_with_indices(x, text(pk.Max()))[0].dtype == torch.bfloat16
        assert ops.pool(x.double(), text(pk.Soft())).dtype == torch.float64
    for key in ("AutocastCUDA", "AutocastXPU", "AutocastMPS"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key("poolkit::pool", key)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_autocast_in_one_graph() -> None:
    torch.compiler.reset()
    module, x = nn.SoftPool2d(2), torch.randn(2, 3, *SIZES).bfloat16()

    def call(t: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return module(t)

    y = torch.compile(call, fullgraph=True, backend="aot_eager")(x)
    assert y.dtype == torch.float32
    assert torch.equal(y, call(x))


def test_every_reducer_has_its_operations() -> None:
    assert set(flops.PER_CELL) | flops.SORTING == set(KINDS)
    assert not set(flops.PER_CELL) & flops.SORTING


def test_counted_operations() -> None:
    """Counted by hand: 2 planes, 3 x 2 windows; along the axes 6 and 2 + 3 = 5 cells."""
    x = torch.randn(1, 2, *SIZES)

    def count(call) -> dict[str, int]:
        with FlopCounterMode(display=False) as counter:
            call()
        return {str(op): n for op, n in counter.get_flop_counts()["Global"].items()}

    window, seen = pk.Sliding((2, 3), (2, 2), ((0, 0), (1, 0))), 2 * 6 * (2 + 3)
    assert count(lambda: pk.pool(x, window, pk.Max())) == {"poolkit.pool": seen}
    assert count(lambda: pk.pool(x, window, pk.Soft())) == {"poolkit.pool": 5 * seen}
    assert count(lambda: pk.pool(x, window, pk.Filter((1.0,) * 6))) == {"poolkit.pool": 2 * seen}
    assert count(lambda: pk.pool(x, pk.Global(), pk.Median())) == {"poolkit.pool": 2 * 30 * (1 + 5)}
    leaf = x.clone().requires_grad_()
    assert count(lambda: pk.pool(leaf, window, pk.Max()).sum().backward()) == {
        "poolkit.pool_with_offsets": seen,
        "poolkit.pool_backward": 2 * 3 * 2,
    }
    assert count(lambda: pk.pool(leaf, window, pk.Soft()).sum().backward()) == {
        "poolkit.pool": 5 * seen,
        "poolkit.pool_backward": 5 * seen,
    }
    assert count(lambda: ops.pool_with_lse(x, text(pk.Soft()))) == {"poolkit.pool_with_lse": 5 * 2 * 6 * 7}
    y, indices = pk.max_pool2d(x, 2, return_indices=True)
    assert count(lambda: pk.max_unpool2d(y, indices, 2, output_size=SIZES)) == {"poolkit.unpool": 0}
