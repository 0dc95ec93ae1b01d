"""How a window over inputs of one size, together with a reducer, travels to the compiled core: as one string.

A framework's operators carry it as a plain constant; ``csrc/plan_text.hpp`` reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def encode(reducer: int, params: Sequence[float], spec: Sequence[int]) -> str:
    """The plan string of a reducer's code and parameters and the flat geometry of a plan.

    >>> from poolkit.reducer import Params
    >>> encode(0, Params(), (0, 8, 4, 3, 2, 1, 1, 1))
    '0(2.0,0.0,1.0,0,1,1,0.5,0,0) 0(8,4,3,2,1,1,1)'
    """
    p, eps, beta, divisor, include_pad, mean, level, mode, sample = params
    head = (
        f"{reducer}({float(p)!r},{float(eps)!r},{float(beta)!r},{int(divisor)},{int(include_pad)},{int(mean)},"
        f"{float(level)!r},{int(mode)},{int(sample)})"
    )
    axes = (spec[i : i + 8] for i in range(0, len(spec), 8))
    return head + "".join(f" {axis[0]}({','.join(map(str, axis[1:]))})" for axis in axes)
