"""Pooling of JAX arrays: `pool`, with everything that it takes, and every named function.

The functions of `poolkit` itself take JAX arrays, too, and are the same; this module loads with the first one.
"""

from __future__ import annotations

from typing import Any

import poolkit
from poolkit.jax.functional import pool

__all__ = ["pool"]


def __getattr__(name: str) -> Any:
    if name in poolkit.__all__ and "pool" in name:
        return getattr(poolkit, name)
    raise AttributeError(f"module 'poolkit.jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"pool", *(name for name in poolkit.__all__ if "pool" in name and name != "pool_vjp")})
