"""PyTorch front end: operators ``torch.ops.poolkit.*``, autograd, and `pool` for tensors."""

from poolkit.torch.functional import pool
from poolkit.torch.unpooling import max_unpool

__all__ = ["max_unpool", "pool"]
