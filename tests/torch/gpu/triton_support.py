"""What the tests of the Triton kernels share."""

from __future__ import annotations

import os

import numpy as np
import torch
from support import BF16, SEED

import poolkit as pk
from poolkit import arrays
from poolkit.torch import autograd, ops

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and os.environ.get("POOLKIT_TEST_TRITON") in ("1", "all")
DEVICE = torch.device("cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda")


def tensor(x: np.ndarray, *, last: bool = False) -> torch.Tensor:
    """On the device, with its channels last in memory or not."""
    t = torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16) if x.dtype == BF16 else torch.from_numpy(x)
    t = t.to(DEVICE)
    return t.movedim(1, -1).contiguous().movedim(-1, 1) if last else t.contiguous()


def array(t: torch.Tensor) -> np.ndarray:
    return t.detach().to(torch.float64).cpu().numpy()


def wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def arguments(x: torch.Tensor, plan, reducer: pk.Reducer, extra: torch.Tensor | None = None):
    """Those of the operators: x, starts, extra, plan."""
    starts = None if plan.starts is None else torch.tensor(plan.starts, device=x.device)
    shape = (*x.shape[: -plan.rank], *plan.out_shape)
    if extra is None and reducer.draws:
        drawn = arrays.extra_of(reducer, shape, np.dtype("float64"), SEED)
        extra = torch.from_numpy(drawn).to(x.device, wide(x.dtype))
    elif extra is None and reducer.values is not None:
        extra = torch.tensor(reducer.values, dtype=wide(x.dtype), device=x.device)
        extra = extra.expand(shape) if reducer.extra == "outputs" else extra[None]
    return x, starts, extra, ops.encode(reducer.code, reducer.params, plan.spec)


def run(x: torch.Tensor, plan, reducer: pk.Reducer, extra: torch.Tensor | None = None):
    """y and indices, as the front end calls the operators."""
    x, starts, extra, text = arguments(x, plan, reducer, extra)
    size = arrays.offset_dtype(plan).itemsize if "offsets" in reducer.keeps else 0
    y = autograd.Pool.apply(x, starts, extra, text, autograd.mask(reducer.keeps), size, plan.rank, reducer.selects)
    return y if reducer.selects else (y, None)
