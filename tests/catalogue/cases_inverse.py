"""Unpoolings."""

from functools import partial

import numpy as np
from cases import Case

from poolkit import nn
from poolkit.reference import inverse

RNG = np.random.default_rng(2)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def avg(module, y, sizes, label, **settings) -> Case:
    return Case(
        "avg_unpool",
        module,
        (y,),
        lambda _, y, output_size: inverse.avg_unpool(y, output_size, **settings),
        keywords={"output_size": sizes},
        label=label,
    )


def soft(module, y, x, label, **settings) -> Case:
    return Case(
        "soft_unpool",
        module,
        (y, x),
        lambda _, y, x: inverse.soft_unpool(y, x, x.ndim - 2, **settings),
        label=label,
    )


def indexed(rank: int, y, cells: tuple[int, ...]) -> Case:
    # A window's own places: every index different, apart from two in the last plane.
    planes = [RNG.permutation(int(np.prod(cells)))[: int(np.prod(y.shape[2:]))] for _ in range(y.shape[0] * y.shape[1])]
    planes[-1][1] = planes[-1][0]
    indices = np.array(planes).reshape(y.shape)
    return Case(
        "index_unpool",
        getattr(nn, f"IndexUnpool{rank}d"),
        (y, indices),
        lambda _, y, indices, output_size: inverse.index_unpool(y, indices, output_size),
        keywords={"output_size": cells},
        label=f"{rank}d",
    )


CASES = [
    avg(partial(nn.AvgUnpool2d, 2), normal(2, 3, 3, 2), (6, 5), "2", kernel_size=2, stride=2),
    avg(partial(nn.AvgUnpool2d, 3, 2, 1), normal(2, 3, 4, 3), (7, 6), "padded", kernel_size=3, stride=2, padding=1),
    avg(
        partial(nn.AvgUnpool2d, 3, 2, 1, ceil_mode=True),
        normal(2, 3, 4, 4),
        (6, 7),
        "ceil",
        kernel_size=3,
        stride=2,
        padding=1,
    ),
    avg(
        partial(nn.AvgUnpool2d, 3, 2, 1, count_include_pad=False, dilation=2),
        normal(1, 2, 3, 2),
        (7, 6),
        "dilated",
        kernel_size=3,
        stride=2,
        padding=1,
        dilation=2,
        count_include_pad=False,
    ),
    avg(
        partial(nn.AvgUnpool1d, 3, 1),
        normal(2, 3, 4),
        (6,),
        "1d",
        kernel_size=3,
        stride=1,
    ),
    avg(
        partial(nn.AvgUnpool3d, 2, divisor_override=1),
        normal(1, 2, 2, 1, 2),
        (4, 3, 5),
        "repeated",
        kernel_size=2,
        stride=2,
        divisor_override=1,
    ),
    soft(partial(nn.SoftUnpool2d, 2), normal(2, 3, 2, 3), normal(2, 3, 5, 6), "2", kernel_size=2, stride=2),
    soft(
        partial(nn.SoftUnpool2d, 3, 2, 1, beta=2.0),
        normal(2, 2, 3, 4),
        normal(2, 2, 6, 7),
        "overlapping",
        kernel_size=3,
        stride=2,
        padding=1,
        beta=2.0,
    ),
    soft(
        partial(nn.SoftUnpool1d, 3, 2, 0, 2),
        normal(2, 2, 3),
        normal(2, 2, 9),
        "1d",
        kernel_size=3,
        stride=2,
        dilation=2,
    ),
    soft(
        partial(nn.SoftUnpool3d, 2, beta=-1.0),
        normal(1, 2, 1, 2, 1),
        normal(1, 2, 3, 4, 2),
        "3d",
        kernel_size=2,
        stride=2,
        beta=-1.0,
    ),
    indexed(1, normal(2, 3, 4), (9,)),
    indexed(2, normal(2, 3, 2, 3), (4, 5)),
    indexed(3, normal(1, 2, 2, 1, 2), (3, 2, 4)),
]
