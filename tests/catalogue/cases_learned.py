"""Learned poolings made of several steps."""

from functools import partial

import numpy as np
import torch
from cases import Case

from poolkit import nn
from poolkit.reference import learned

RNG = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def shaken(make):
    """The module with parameters that are all different from where they start."""

    def made() -> torch.nn.Module:
        module = make()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        return module

    return made


class Scaled(torch.nn.Module):
    def forward(self, x):
        return 3 * x


CASES = [
    Case(
        "lip_pool",
        shaken(partial(nn.LIPPool2d, 3)),
        (normal(2, 3, 6, 5),),
        partial(learned.lip_pool, kernel_size=3, stride=2, padding=1),
        others=((normal(1, 3, 1, 1),), (normal(1, 3, 4, 9),)),
    ),
    Case(
        "lip_pool",
        partial(nn.LIPPool2d, 3, 2, None, 0, logit=Scaled()),
        (normal(2, 3, 6, 5),),
        lambda state, x: learned.lip_pool(state, x, 2, 2, 0, logits=3 * x),
        label="own logits",
    ),
    *(
        Case(
            "detail_preserving_pool",
            shaken(partial(nn.DetailPreservingPool2d, 3, variant, symmetric, kernel_size=size)),
            (normal(2, 3, 7, 6),),
            partial(learned.detail_preserving_pool, symmetric=symmetric, kernel_size=size),
            others=((normal(3, 5, 4),),),
            label=f"{variant}-{'both' if symmetric else 'up'}",
        )
        for variant, symmetric, size in (("lite", True, 2), ("full", True, 2), ("lite", False, 3), ("full", False, 2))
    ),
    *(
        Case(
            "gaussian_pool",
            partial(nn.GaussianPool2d, 4, 3, 2, 1, variant=variant),
            (normal(2, 4, 5, 6),),
            partial(learned.gaussian_pool, kernel_size=3, stride=2, padding=1),
            others=((normal(1, 4, 1, 3),),),
            label=variant,
        )
        for variant in ("isp", "half")
    ),
    *(
        Case(
            "gaussian_pool",
            partial(nn.GaussianPool2d, 3, 2, variant=variant),
            (normal(2, 3, 4, 4), normal(2, 3)),
            lambda state, x, noise: learned.gaussian_pool(state, x, 2, 2, noise=noise),
            training=True,
            label=f"{variant}-training",
        )
        for variant in ("isp", "half")
    ),
    Case(
        "alpha_pool",
        partial(nn.AlphaPool, 1.7),
        (normal(2, 3, 4, 5),),
        learned.alpha_pool,
        others=((normal(1, 4, 7),), (normal(2, 2, 1, 2, 3),)),
    ),
    Case(
        "alpha_pool",
        partial(nn.AlphaPool, flatten=False),
        (normal(2, 3, 5),),
        partial(learned.alpha_pool, flatten=False),
        label="matrix",
    ),
    Case(
        "power_pool",
        shaken(partial(nn.PowerPool, 3)),
        (RNG.uniform(0.05, 1, size=(2, 3, 8)),),
        learned.power_pool,
        others=((RNG.uniform(0.05, 1, size=(1, 3, 2, 5)),),),
    ),
]
