"""Global, adaptive and pyramid poolings."""

from functools import partial

import numpy as np
from cases import Case

from poolkit import nn
from poolkit.reference import pyramid

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def distinct(*shape: int) -> np.ndarray:
    """No two cells closer than 0.01, so that finite differences change no order."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape) * 0.01 - 1


def without_state(formula, **settings):
    return lambda _, x: formula(x, **settings)


SIZES = {1: (11,), 2: (5, 7), 3: (3, 4, 5)}
OTHERS = {1: (6,), 2: (9, 2), 3: (4, 1, 3)}
# The reducer, the words for it in the modules' names, and how each module is made.
REDUCERS = {
    "max": ("Max", {}, {}),
    "min": ("Min", {}, {}),
    "avg": ("Avg", {}, {}),
    "sum": ("Sum", {}, {}),
    "rms": ("RMS", {}, {}),
    "lp": ("Lp", {"norm_type": 3.0}, {"p": 3.0}),
    "power_mean": ("PowerMean", {"p": 2.0}, {"p": 2.0}),
    "soft": ("Soft", {"beta": 1.5}, {"beta": 1.5}),
    "lse": ("LogSumExp", {"beta": 2.0}, {"beta": 2.0}),
}


def maps(reducer: str, *shape: int) -> np.ndarray:
    return abs(normal(*shape)) + 0.2 if reducer == "power_mean" else distinct(*shape)


def windows():
    for reducer, (name, settings, parameters) in REDUCERS.items():
        for rank in (1, 2, 3):
            x, other = maps(reducer, 2, 3, *SIZES[rank]), maps(reducer, 1, 2, *OTHERS[rank])
            keepdims = rank == 3
            yield Case(
                "global_pool",
                partial(getattr(nn, f"Global{name}Pool{rank}d"), keepdims=keepdims, **settings),
                (x,),
                without_state(pyramid.global_pool, reducer=reducer, rank=rank, keepdims=keepdims, **parameters),
                others=((other,), (other[0],)),
                label=f"{reducer}-{rank}d",
            )
            if reducer in ("max", "avg"):
                continue
            yield Case(
                "adaptive_pool",
                partial(getattr(nn, f"Adaptive{name}Pool{rank}d"), output_size=3, **settings),
                (x,),
                without_state(pyramid.adaptive_pool, output_size=(3,) * rank, reducer=reducer, **parameters),
                others=((other,), (other[0],)),
                label=f"{reducer}-{rank}d",
            )


CASES = [
    *windows(),
    Case(
        "adaptive_pool",
        partial(nn.AdaptiveLpPool2d, 2.0, (None, 2)),
        (normal(2, 3, 4, 5),),
        without_state(pyramid.adaptive_pool, output_size=(None, 2), reducer="lp"),
        label="an axis kept",
    ),
    Case(
        "spatial_pyramid_pool",
        nn.SpatialPyramidPool2d,
        (distinct(2, 3, 5, 7),),
        without_state(pyramid.spatial_pyramid_pool, levels=((1, 1), (2, 2), (4, 4)), mode="max"),
        others=((distinct(1, 2, 13, 3),), (distinct(3, 1, 1),)),
    ),
    Case(
        "spatial_pyramid_pool",
        partial(nn.SpatialPyramidPool2d, (1, (3, 2)), "avg", flatten=False),
        (normal(2, 3, 5, 7),),
        without_state(pyramid.spatial_pyramid_pool, levels=((1, 1), (3, 2)), mode="avg", flatten=False),
        others=((normal(2, 6, 4),),),
        label="avg",
    ),
    Case(
        "chained_max_pool",
        partial(nn.ChainedMaxPool2d, 3, 2),
        (distinct(2, 2, 5, 6),),
        without_state(pyramid.chained_max_pool, kernel_size=3, repeats=2),
        others=((distinct(3, 9, 1),),),
    ),
    Case(
        "sppf",
        partial(nn.SPPF, 4, 3),
        (normal(2, 4, 6, 5),),
        partial(pyramid.sppf, kernel_size=5),
        others=((normal(1, 4, 1, 9),),),
    ),
    Case(
        "sppf",
        partial(nn.SPPF, 4, 3, 3, 2),
        (normal(2, 4, 4, 3),),
        partial(pyramid.sppf, kernel_size=3, training=True),
        training=True,
        half=False,
        label="training",
    ),
    Case(
        "sppf",
        partial(nn.SPPF, 3, 2, 3, norm=None),
        (normal(2, 3, 4, 3),),
        partial(pyramid.sppf, kernel_size=3),
        label="without a norm",
    ),
    Case(
        "pyramid_pooling_module",
        partial(nn.PyramidPoolingModule, 4, (1, 2, 3)),
        (normal(2, 4, 6, 5),),
        partial(pyramid.pyramid_pooling_module, bins=(1, 2, 3)),
        others=((normal(1, 4, 2, 9),),),
    ),
    Case(
        "pyramid_pooling_module",
        partial(nn.PyramidPoolingModule, 4, (1, 3), 2, align_corners=True),
        (normal(2, 4, 4, 3),),
        partial(pyramid.pyramid_pooling_module, bins=(1, 3), align_corners=True, training=True),
        training=True,
        half=False,
        label="training",
    ),
    Case(
        "strip_pool",
        partial(nn.StripPool2d, 3),
        (normal(2, 3, 4, 6),),
        pyramid.strip_pool,
        others=((normal(1, 3, 1, 5),),),
    ),
    Case(
        "strip_pool",
        partial(nn.StripPool2d, 2, 5),
        (normal(2, 2, 4, 6),),
        pyramid.strip_pool,
        label="5",
    ),
    Case(
        "rmac",
        nn.RMACPool,
        (distinct(2, 4, 7, 7),),
        without_state(pyramid.rmac, levels=3),
        others=((distinct(2, 4, 6, 17),), (distinct(4, 9, 8),), (distinct(1, 3, 1, 2),)),
    ),
    Case(
        "rmac",
        partial(nn.RMACPool, 2, whole=True),
        (distinct(2, 4, 9, 6),),
        without_state(pyramid.rmac, levels=2, whole=True),
        label="whole",
    ),
    Case(
        "wildcat",
        partial(nn.WildcatPool2d, 3, 2, 0.7),
        (distinct(2, 4, 5, 4),),
        without_state(pyramid.wildcat, kmax=3, kmin=2, alpha=0.7),
        others=((distinct(4, 3, 1),),),
    ),
    Case(
        "wildcat",
        partial(nn.WildcatPool2d, 0.2, 0),
        (distinct(2, 4, 5, 6),),
        without_state(pyramid.wildcat, kmax=6, kmin=0, alpha=1.0),
        label="a fraction",
    ),
]
