"""Elementary functions of the kernels: csrc/vmath.hpp and csrc/atoms.hpp on a GPU."""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.composite import exponential

LOG2_E = tl.constexpr(exponential.LOG2_E)
SINGLE = tl.constexpr(tuple(exponential.SINGLE))
DOUBLE = tl.constexpr(tuple(exponential.DOUBLE))


@triton.jit
def divided(a, b):
    """a / b, rounded to nearest: the plain operator of float32 is off by two units in the last place."""
    if a.dtype == tl.float32:
        return tl.div_rn(a, b)
    else:
        return a / b


@triton.jit
def root_of(v):
    """The square root, rounded to nearest."""
    if v.dtype == tl.float32:
        return tl.sqrt_rn(v)
    else:
        return tl.sqrt(v)


@triton.jit
def power(v, p: tl.constexpr):
    """v**p of numbers that are not negative."""
    if p == 0:
        return tl.zeros_like(v) + 1
    elif p == 1:
        return v
    elif p == 2:
        return v * v
    elif p == 3:
        return v * v * v
    elif p == 0.5:
        return root_of(v)
    else:
        return tl.exp2(tl.log2(v) * p)


@triton.jit
def root(v, p: tl.constexpr):
    """v**(1 / p) of numbers that are not negative."""
    if p == 1:
        return v
    elif p == 2:
        return root_of(v)
    else:
        return tl.exp2(divided(tl.log2(v), tl.zeros_like(v) + p) if v.dtype == tl.float64 else tl.log2(v) * (1 / p))


@triton.jit
def exp_same(x):
    """exp(x) with the bits of the CPU, in kernels without fused multiplications and additions."""
    if x.dtype == tl.float64:
        return _exp_by(x, DOUBLE, tl.int64)
    else:
        return _exp_by(x, SINGLE, tl.int32)


@triton.jit
def _exp_by(x, C: tl.constexpr, WHOLE: tl.constexpr):
    """Operation for operation `poolkit.torch.composite.exponential.exp_same`."""
    t = tl.where(x < C[6], C[6], x)
    t = tl.where(t > C[7], C[7], t)
    n = t * LOG2_E + C[2]
    k = n.to(WHOLE, bitcast=True) - C[3]
    n = n - C[2]
    r = n * -C[5] + (n * -C[4] + t)
    TERMS: tl.constexpr = len(C[8])
    p = tl.zeros_like(r) + C[8][TERMS - 1]
    for i in tl.static_range(1, TERMS):
        p = p * r + C[8][TERMS - 1 - i]
    p = (p * (r * r) + r) + 1
    y = p * ((k + (C[1] - 1)) << C[0]).to(x.dtype, bitcast=True) * 2
    return tl.where(x < C[6], 0, tl.where(x > C[7], float("inf"), y))


@triton.jit
def least(v):
    """What sums of powers stay above, or are worked out again relative to their largest part."""
    if v.dtype == tl.float64:
        return 2.2e-300
    else:
        return 1.2e-30


@triton.jit
def most(v):
    """The largest finite number."""
    if v.dtype == tl.float64:
        return 1.7976931348623157e308
    else:
        return 3.4028234663852886e38


@triton.jit
def magnitude(v):
    """|v|."""
    return tl.abs(v)


@triton.jit
def finite(v):
    """Whether v is neither infinite nor NaN."""
    return v - v == 0
