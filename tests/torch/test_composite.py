"""The operators as compositions of torch's own, against the oracle: what serves every device but the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import ADDING, CASES, CHOOSING, SMOOTH, Case, assert_close, expected, plan_of, scale_of
from torch.export import Dim

import poolkit as pk
from poolkit import arrays, nn
from poolkit.torch import autograd, composite, ops

REDUCERS = [*CHOOSING, *ADDING, pk.Lp(float("inf")), *SMOOTH]


@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_indices_and_gradients(case: Case, reducer: pk.Reducer) -> None:
    reducer = reducer.on(case.window)
    x, pooled, grad, dx = expected(case, reducer)
    plan = plan_of(case, x.shape)
    starts = None if plan.starts is None else torch.tensor(plan.starts)
    size = arrays.offset_dtype(plan).itemsize if "offsets" in reducer.keeps else 0
    text = ops.encode(reducer.code, reducer.params, plan.spec)
    leaf = torch.from_numpy(x).requires_grad_()
    with composite.Forced():
        y = autograd.Pool.apply(
            leaf, starts, None, text, autograd.mask(reducer.keeps), size, plan.rank, reducer.selects
        )
        if reducer.selects:
            y, indices = y
            np.testing.assert_array_equal(indices.numpy(), pooled.indices)
        y.backward(torch.from_numpy(grad))
    assert_close(y.detach().numpy(), pooled.values, 1e-13, scale_of(pooled.values))
    assert leaf.grad is not None
    assert_close(leaf.grad.numpy(), dx, 1e-12, scale_of(dx))


MODULES = [
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
]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch.export's own
@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
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
