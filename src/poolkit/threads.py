"""How many threads the NumPy front end uses. Torch tensors run on torch's own threads."""

from __future__ import annotations

from poolkit import _core
from poolkit.errors import integer


def set_num_threads(n: int) -> None:
    """Runs NumPy poolings on up to `n` threads from now on; results do not depend on it, bit for bit.

    The default is POOLKIT_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs this process may use.

    Raises:
        PoolTypeError, PoolError: `n` is not an integer of at least 1.

    >>> import poolkit as pk
    >>> pk.set_num_threads(1)
    >>> pk.get_num_threads()
    1
    """
    _core.set_num_threads(min(integer(n, "n", 1), 256))


def get_num_threads() -> int:
    """The number of threads a NumPy pooling may use."""
    return _core.get_num_threads()
