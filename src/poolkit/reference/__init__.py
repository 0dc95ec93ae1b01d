"""The oracle: every pooling as a direct NumPy formula in float64, alone on purpose.

`local` goes through the windows and holds the folding reducers, `whole` the others; the poolings that are modules of
their own have a file for each family.
"""

from poolkit.reference.local import (
    Pooled,
    backward,
    choose,
    derivative,
    exact_reduce,
    float_reduce,
    forward,
    taps,
)

__all__ = ["Pooled", "backward", "choose", "derivative", "exact_reduce", "float_reduce", "forward", "taps"]
