"""Anti-aliased poolings."""

from functools import partial

import numpy as np
from cases import Case

from poolkit import nn
from poolkit.reference import antialias

RNG = np.random.default_rng(1)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def blur(kernel, stride, padding, convention="timm", others=(), shape=(2, 3, 7, 6)) -> Case:
    rank = len(shape) - 2
    kernels, strides = (kernel,) * rank, (stride,) * rank if isinstance(stride, int) else stride
    return Case(
        "blur_pool",
        partial(getattr(nn, f"BlurPool{rank}d"), kernel, stride, padding, convention),
        (normal(*shape),),
        lambda _, x: antialias.blur_pool(x, kernels, strides, padding, convention),
        others=tuple((normal(*other),) for other in others),
        label=f"{convention}-{kernel}-{padding}-{rank}d",
    )


def max_blur(module, x, **settings) -> Case:
    given = {"stride": (2, 2), "padding": "reflect", "convention": "timm", **settings}
    return Case("max_blur_pool", module, (x,), lambda _, x: antialias.max_blur_pool(x, **given), label=str(x.shape[2:]))


CASES = [
    *(
        blur(kernel, 2, padding, convention, others=((1, 2, 12, 5), (3, 8, 9)))
        for convention in ("timm", "adobe", "kornia")
        for kernel, padding in ((3, "reflect"), (4, "zeros"), (5, "circular"))
    ),
    blur(7, (3, 1), "replicate", others=((1, 2, 1, 5),)),
    blur(1, 2, "zeros"),
    blur(3, 2, "reflect", shape=(2, 3, 9), others=((2, 8),)),
    blur(4, 3, "reflect", "adobe", shape=(1, 2, 4, 5, 6)),
    max_blur(nn.MaxBlurPool2d, normal(2, 3, 7, 6), kernel_size=(2, 2), filter_size=(3, 3)),
    max_blur(
        partial(nn.MaxBlurPool2d, 3, convention="adobe", max_padding=1),
        normal(2, 2, 6, 9),
        kernel_size=(3, 3),
        filter_size=(4, 4),
        max_padding=1,
        convention="adobe",
    ),
    max_blur(
        partial(nn.MaxBlurPool1d, 2, filter_size=5, padding="zeros"),
        normal(2, 2, 11),
        kernel_size=(2,),
        filter_size=(5,),
        stride=(2,),
        padding="zeros",
    ),
    max_blur(
        partial(nn.MaxBlurPool3d, convention="kornia"),
        normal(1, 2, 4, 5, 4),
        kernel_size=(2, 2, 2),
        filter_size=(3, 3, 3),
        stride=(2, 2, 2),
        padding="zeros",
        convention="kornia",
    ),
    Case(
        "adaptive_polyphase_pool",
        nn.AdaptivePolyphasePool2d,
        (normal(5, 2, 6, 4),),
        lambda _, x: antialias.adaptive_polyphase_pool(x, 2, 2.0)[0],
        others=((normal(3, 2, 5, 7),), (normal(1, 1, 1, 2),)),
    ),
    Case(
        "adaptive_polyphase_pool",
        partial(nn.AdaptivePolyphasePool2d, 3, float("inf"), return_phase=True),
        (normal(4, 2, 8, 7),),
        lambda _, x: antialias.adaptive_polyphase_pool(x, 3, float("inf")),
        label="phase",
    ),
]
