"""Counts poolkit's operators as they run: what shows that a call was taken over."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode


class Operators(TorchDispatchMode):
    """How often each operator ran inside of the block, by name: ``poolkit::pool``, ``aten::max_pool2d`` ..."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def ours(self):
        return sum(count for name, count in self.counts.items() if name.startswith("poolkit::"))


def ours(function, *arguments, **named):
    """How many of poolkit's operators a call runs."""
    with Operators() as seen:
        function(*arguments, **named)
    return seen.ours
