"""Windows over sizes that only a run of a TensorFlow graph knows: the graph asks for their plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from poolkit.keras.cells import Pick
from poolkit.window import Sliding, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.window import Window


def picks_of_sizes(window: Window, sizes: Sequence[Any]) -> list[Pick]:
    """The cells that the windows take of axes of these sizes, some of them tensors.

    TensorFlow traces a function anew for every shape it sees, until it takes them all for one of unknown size; then
    the plan comes from Python, at each run.
    """
    import tensorflow as tf

    graph: Any = tf
    kinds = [graph.int32, graph.bool, graph.int64, graph.int64]

    def planned(*known: Any) -> list[Any]:
        found: list[Any] = []
        for axis in window.plan([int(size) for size in known]).axes:
            cells, exists = axis.taps
            found += [cells.astype(np.int32), exists, axis.count, axis.count_padded]
        return found

    found = graph.numpy_function(planned, [graph.convert_to_tensor(size) for size in sizes], kinds * len(sizes))
    taps = spread(window.kernel_size, len(sizes)) if isinstance(window, Sliding) else (None,) * len(sizes)
    picks: list[Pick] = []
    for i, kernel in enumerate(taps):
        cells, exists, count, padded = found[4 * i : 4 * i + 4]
        for array in (cells, exists):
            array.set_shape((None, kernel))
        for array in (count, padded):
            array.set_shape((None,))
        picks.append(Pick(cells, exists, count, padded))
    return picks
