"""The exponential that draws go by: csrc/vmath.hpp's `exp_same`, bit for bit, in torch's own operations.

Its bits are the same everywhere because it multiplies and adds one by one, rounding each time, in one order: no
library's exponential is like another's to the last bit, and a draw that lies between two cells goes by that bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Numbers(NamedTuple):
    """What csrc/vmath.hpp has in `Bits`, and the polynomial: (exp(r) - 1 - r) / r**2 from -ln 2 / 2 to ln 2 / 2."""

    mantissa: int
    bias: int
    shifter: float  # adding it rounds to an integer
    shifter_bits: int
    ln2_high: float
    ln2_low: float
    lowest: float  # of what is not 0
    highest: float  # of what is not infinite
    terms: tuple[float, ...]


SINGLE = Numbers(
    23,
    127,
    12582912.0,
    0x4B400000,
    0.693145751953125,
    1.428606765330187e-6,
    -86.6,
    88.72,
    (
        0.5000000013457727153,
        0.16666666681614255706,
        0.041666465006040048761,
        0.0083333109344488684687,
        0.001393364103198670115,
        0.00019890980869750325563,
    ),
)
DOUBLE = Numbers(
    52,
    1023,
    6755399441055744.0,
    0x4338000000000000,
    float.fromhex("0x1.62e42fefap-1"),
    float.fromhex("0x1.cf79abc9e3b398p-40"),
    -707.7,
    709.78,
    (
        0.50000000000000010211,
        0.16666666666666667452,
        0.041666666666624161903,
        0.0083333333333300644495,
        0.0013888888917196719077,
        0.00019841269863040545271,
        2.4801521322368693266e-05,
        2.7557268480310025526e-06,
        2.7620075879983366586e-07,
        2.5100375832561233664e-08,
    ),
)
LOG2_E = 1.44269504088896340736


def exp_same(x: Tensor) -> Tensor:
    """exp(x), within two units of the last place.

    >>> exp_same(torch.tensor([0.0, 1.0, -100.0]))
    tensor([1.0000, 2.7183, 0.0000])
    """
    c, whole = (DOUBLE, torch.int64) if x.dtype == torch.float64 else (SINGLE, torch.int32)
    t = torch.where(x < c.lowest, c.lowest, x)
    t = torch.where(t > c.highest, c.highest, t)
    n = t * LOG2_E + c.shifter
    k = n.view(whole) - c.shifter_bits
    n = n - c.shifter
    r = n * -c.ln2_low + (n * -c.ln2_high + t)
    p = torch.full_like(r, c.terms[-1])
    for term in c.terms[-2::-1]:
        p = p * r + term
    p = (p * (r * r) + r) + 1
    # 2**k in two factors: k may be one more than the largest exponent.
    y = p * ((k + (c.bias - 1)) << c.mantissa).view(x.dtype) * 2
    return torch.where(x < c.lowest, 0, torch.where(x > c.highest, torch.inf, y))
