"""Batches of a data set before and after pooling, for TensorBoard: what tutorials on pooling begin with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from poolkit.errors import PoolError
from poolkit.lab.events import Board
from poolkit.lab.maps import answer, grid, heat_grid, lost, outlines, png, routing
from poolkit.window import Sliding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.lab.data import Split
    from poolkit.lab.poolings import Pooling


@dataclass(frozen=True)
class Logged:
    """What was written for one pooling: its run, the number of batches, and one image's shape before and after."""

    pool: str
    folder: Path
    batches: int
    before: tuple[int, ...]
    after: tuple[int, ...]


def log(
    split: Split,
    pools: Sequence[Pooling],
    folder: Path,
    *,
    kernel: int = 3,
    stride: int | None = None,
    padding: int = 0,
    ceil_mode: bool = False,
    batch_size: int = 64,
    batches: int | None = None,
) -> list[Logged]:
    """Writes event files: a run for each pooling, in `folder` itself if there is one alone.

    The steps are the batches in their order. Tags are ``input`` and ``output``, as in the tutorials; ``lost``, the
    difference between the two; ``windows``, what each window sees of the first image; and ``routing``, how much each
    cell counts in the output.

    Args:
        split: the images.
        pools: what pools them.
        folder: for TensorBoard's ``--logdir``; must hold no events yet.
        kernel: side of the window.
        stride: distance of windows; None is the kernel.
        padding: cells added on both sides.
        ceil_mode: keep a last window that overhangs the end.
        batch_size: images of a step.
        batches: steps at most.

    Raises:
        PoolError: a pooling does not take the images, the folder holds events already, or cannot be written.
    """
    window = Sliding(kernel, stride, padding, ceil_mode=ceil_mode)
    settings = (("ceil_mode", True),) if ceil_mode else ()
    runs = [(pool, folder if len(pools) == 1 else folder / str(pool)) for pool in pools]
    made = [replace(pool, settings=pool.settings + settings) for pool in pools]
    images = split.x if batches is None else split.x[: batches * batch_size]
    low, high = float(images.min()), float(images.max())
    x = torch.from_numpy((images.astype(np.float32) - low) / np.float32((high - low) or 1.0))
    modules = [pool(x.shape[1], kernel, stride, padding) for pool in made]
    shapes = [
        tuple(answer(module, x[:1], f"--pool {pool}").shape[1:]) for module, pool in zip(modules, made, strict=True)
    ]
    for _, run in runs:
        if run.is_dir() and any(run.glob("events.out.tfevents.*")):
            raise PoolError(
                f"--logdir {folder}", f"a run begins with no events, here {run} holds some: steps would be mixed",
                "name another folder, or delete this one",
            )  # fmt: skip
    found: list[Logged] = []
    for (pool, run), module, shape in zip(runs, modules, shapes, strict=True):
        gave = f"--pool {pool}"
        try:
            board = Board(run)
            try:
                parts = torch.split(x, batch_size)
                for step, part in enumerate(parts):
                    y = answer(module, part, gave)
                    board.image("input", *png(grid(part.numpy())), step)
                    board.image("output", *png(grid(y.numpy())), step)
                    board.image("lost", *png(heat_grid(lost(part, y, window))), step)
                    board.image("windows", *png(outlines(part[0].numpy(), window)), step)
                    board.image("routing", *png(heat_grid(routing(module, part))), step)
            finally:
                board.close()
        except OSError as error:
            raise PoolError(
                f"--logdir {folder}", f"files can be written there, here: {error.strerror or error}",
                "free some space, or name another folder",
            ) from None  # fmt: skip
        found.append(Logged(str(pool), run, len(parts), tuple(x.shape[1:]), shape))
    return found
