"""The same uniforms draw the same cells: on every instruction set, and by the compositions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from draws import at_borders
from support import Case, F, S, plan_of
from test_composite import arguments, run

import poolkit as pk
from poolkit import _core
from poolkit.torch import composite
from poolkit.torch.composite.exponential import exp_same
from poolkit.torch.composite.ranks import draw_bounds

DRAWN = [
    pk.Stochastic(),
    pk.Stochastic("softmax", 2.0),
    pk.Stochastic("softmax", 0.1),
    pk.RankStochastic(0.4),
    pk.RankStochastic(0.013),
    pk.MaxDrop(0.6),
    pk.MaxDrop(0.97),
]
WINDOWS = [
    Case(S(3, 2, 1), (19, 23)),
    Case(S(2), (18, 22)),
    Case(S((2, 3), 2, (1, 1), (2, 1), True), (17, 19)),
    Case(S(7, 2, 2), (21, 23)),
    Case(S(3, 2, 1), (7, 6, 9)),
    Case(F(6, output_ratio=0.4), (19, 20)),
    Case(pk.Adaptive(3), (22, 23)),
    Case(pk.Global(), (13, 14)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("reducer", DRAWN, ids=repr)
def test_the_same_cells_are_drawn_everywhere(reducer: pk.Reducer, dtype: torch.dtype) -> None:
    before = _core.isa()
    for seed, case in enumerate(WINDOWS):
        x = torch.randn(2, 4, *case.sizes, generator=torch.Generator().manual_seed(seed)).to(dtype)
        x[0, 0, ..., ::5], x[0, 1, ..., ::4], x[0, 2], x[0, 3, ..., 1::3] = torch.nan, torch.inf, -1.0, -torch.inf
        plan = plan_of(case, tuple(x.shape))
        given = arguments(x, plan, reducer)
        u = at_borders(x, given[3], given[1], seed)
        try:
            drawn = [run(x, plan, reducer, u) for isa in _core.available_isas() if _core.set_isa(isa)]
        finally:
            assert _core.set_isa(before)
        with composite.Forced():
            drawn.append(run(x, plan, reducer, u))
        assert len(drawn) == len(_core.available_isas()) + 1
        y, places = drawn[0]
        assert y[1].unique().numel() > 3
        for other, there in drawn[1:]:
            assert torch.equal(there, places)
            torch.testing.assert_close(other, y, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exponential_has_the_bits_of_the_core(dtype) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([-rng.exponential(3, 100_000), rng.uniform(-720, 720, 10_000), [0, -0.0, np.inf, -np.inf]])
    want = np.empty_like(x := x.astype(dtype))
    _core.elementary(4, 0.0, x, want)
    np.testing.assert_array_equal(exp_same(torch.from_numpy(x)).numpy(), want)
    assert exp_same(torch.tensor([torch.nan], dtype=torch.float32)).isnan().all()


def test_bounds_in_single_precision_stand_for_those_in_double() -> None:
    """A uniform of single precision is below the one where it is below the other."""
    wide = np.array(draw_bounds(pk.RankStochastic(0.3).params, 40, torch.float64))
    near = np.array(draw_bounds(pk.RankStochastic(0.3).params, 40, torch.float32), np.float32)
    assert (near >= wide).all()
    assert (np.nextafter(near, np.float32(0)) < wide).all()
