"""PyTorch front end: operators ``torch.ops.poolkit.*``, autograd, and `pool` for tensors."""

from poolkit.torch.functional import max_unpool, pool

__all__ = ["max_unpool", "pool"]
