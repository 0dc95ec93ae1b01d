"""Poolings that keep a shift of the input a shift of the output: blur before the stride, and chosen phases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from poolkit.blur import CONVENTIONS, blur_row, blur_sides, check_blur
from poolkit.errors import PoolError, PoolTypeError, flag, integer, number, show
from poolkit.nn._maps import check_maps, one_of, wide
from poolkit.reducer import Max
from poolkit.torch.functional import Parts, run
from poolkit.window import Sliding, per_axis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MODES = {"reflect": "reflect", "replicate": "replicate", "zeros": "constant", "circular": "circular"}
_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class _BlurPool(nn.Module):
    """Binomial filter, then every `stride`-th cell: the low-pass before subsampling that a plain stride leaves out.

    ``y[j] = sum_i b[i] x[stride j + i - before]`` along each axis, with ``b`` the row of Pascal's triangle of
    `kernel_size` numbers over its sum, such as ``[1, 2, 1] / 4``. Linear, for any number of channels, nothing learned
    (Zhang, 2019, arXiv:1904.11486, section 3).

    Args:
        kernel_size: numbers of the filter, an int or one per axis; None is the convention's.
        stride: distance between the outputs, an int or one per axis.
        padding: ``"reflect"``, ``"replicate"``, ``"zeros"`` or ``"circular"``: what stands outside of the input; None
            is the convention's.
        convention: whose sizes and defaults; with k for kernel_size and s for stride
            ``"timm"``: ``((s - 1) + (k - 1)) // 2`` cells on both sides, filter 3, reflect;
            ``"adobe"`` (the paper's): ``(k - 1) // 2`` before and ``k // 2`` after, filter 4, reflect; always
            ``ceil(size / s)`` outputs;
            ``"kornia"``: ``(k - 1) // 2`` on both sides, filter 3, zeros.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument or the input breaks a rule; among them an axis that is too short to be reflected.

    >>> import torch, poolkit.nn as nn
    >>> nn.BlurPool1d()(torch.tensor([[[0.0, 4.0, 0.0, 0.0, 8.0, 8.0]]]))
    tensor([[[2., 1., 6.]]])
    """

    rank: int

    def __init__(
        self, kernel_size: Any = None, stride: Any = 2, padding: str | None = None, convention: str = "timm"
    ) -> None:
        super().__init__()
        self.convention = one_of(convention, "convention", tuple(CONVENTIONS))
        size, mode = CONVENTIONS[self.convention]
        self.kernel_size = per_axis(size if kernel_size is None else kernel_size, "kernel_size", 1, self.rank)
        self.stride = per_axis(stride, "stride", 1, self.rank)
        self.padding = mode if padding is None else one_of(padding, "padding", tuple(_MODES))

    def forward(self, input: Tensor) -> Tensor:
        """Blurs and subsamples `input`."""
        x = check_maps(input, self.rank)
        pads = blur_sides(self.kernel_size, self.stride, self.convention)
        check_blur(x.shape, x.shape[-self.rank :], self.kernel_size, pads, self.padding)
        return _filter(wide(x), self.kernel_size, self.stride, pads, _MODES[self.padding]).to(x.dtype)

    def extra_repr(self) -> str:
        """kernel_size, stride, padding, convention."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}, "
            f"convention={self.convention!r}"
        )


def _filter(
    x: Tensor, kernels: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]], mode: str
) -> Tensor:
    """Binomial filters along the last axes: pad, filter, subsample.

    The whole filter as one depthwise convolution: measured against one pass per axis, sums of strided slices, and
    repeated means of two cells, it is the quickest forward and backward in both memory formats.
    """
    sides = [cells for pair in reversed(pads) for cells in pair]
    if any(sides):
        x = functional.pad(x, sides, mode=mode)
    channels, rank = x.shape[-len(kernels) - 1], len(kernels)
    weight = x.new_ones((1,) * rank)
    for axis, kernel in enumerate(kernels):
        weight = weight * x.new_tensor(blur_row(kernel)).reshape([-1 if i == axis else 1 for i in range(rank)])
    weight = weight.expand(channels, 1, *kernels)
    return _CONVOLVE[rank](x, weight, stride=tuple(strides), groups=channels)


class BlurPool1d(_BlurPool):
    rank = 1


class BlurPool2d(_BlurPool):
    rank = 2


class BlurPool3d(_BlurPool):
    rank = 3


class _MaxBlurPool(nn.Module):
    """Maximum over windows one cell apart, then a blur with the stride: max pooling without its aliasing.

    ``y = BlurPool(max(x))`` (Zhang, 2019, arXiv:1904.11486, section 3.2). The maximum leaves ``size + 2 max_padding -
    kernel_size + 1`` cells, of which the blur with convention ``"adobe"``, and with filters of 3, makes one in
    `stride`, rounded up: ``MaxBlurPool2d(2)`` halves even sizes as ``MaxPool2d(2)`` does, ``MaxBlurPool2d(3,
    max_padding=1)`` gives the sizes of ``MaxPool2d(3, 2, 1)``.

    Args:
        kernel_size: cells of the maximum, an int or one per axis.
        stride: distance between the outputs, an int or one per axis.
        filter_size: numbers of the filter; None is the convention's.
        padding: what stands outside of the blur's input; None is the convention's.
        convention: whose sizes and defaults, as for `BlurPool2d`.
        max_padding: cells added on both sides for the maximum, never chosen; at most half of `kernel_size`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.MaxBlurPool1d()(torch.tensor([[[0.0, 4.0, 0.0, 0.0, 8.0, 8.0]]]))
    tensor([[[4., 3., 8.]]])
    """

    rank: int

    def __init__(
        self,
        kernel_size: Any = 2,
        stride: Any = 2,
        filter_size: Any = None,
        padding: str | None = None,
        convention: str = "timm",
        *,
        max_padding: Any = 0,
    ) -> None:
        super().__init__()
        self.kernel_size = per_axis(kernel_size, "kernel_size", 1, self.rank)
        self.max_padding = per_axis(max_padding, "max_padding", 0, self.rank)
        for cells, sides in zip(self.kernel_size, self.max_padding, strict=True):
            if 2 * sides > cells:
                raise PoolError(
                    f"max_padding={show(max_padding)}",
                    f"max_padding is at most half of kernel_size, here {sides} <= {cells} // 2",
                    f"use a max_padding of at most {cells // 2}",
                )
        blur: type[_BlurPool] = (BlurPool1d, BlurPool2d, BlurPool3d)[self.rank - 1]
        self.blur = blur(filter_size, stride, padding, convention)

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        x = check_maps(input, self.rank)
        return self.blur(run(x, _maxima, (self.kernel_size, self.max_padding), self.rank))

    def extra_repr(self) -> str:
        """kernel_size, max_padding."""
        return f"kernel_size={self.kernel_size}, max_padding={self.max_padding}"


def _maxima(kernel_size: tuple[int, ...], padding: tuple[int, ...]) -> Parts:
    return Sliding(kernel_size, 1, padding), Max()


class MaxBlurPool1d(_MaxBlurPool):
    rank = 1


class MaxBlurPool2d(_MaxBlurPool):
    rank = 2


class MaxBlurPool3d(_MaxBlurPool):
    rank = 3


class AdaptivePolyphasePool2d(nn.Module):
    """Every `stride`-th cell, from the phase with the largest norm: subsampling that commutes with circular shifts.

    Of the ``stride ** 2`` sub-grids ``x[i::stride, j::stride]`` each sample keeps the one whose p-norm over channels
    and cells is largest, the first of equal ones. Shift the input circularly by any number of cells and the output is
    the same picture, shifted (Chaman and Dokmanic, 2021, arXiv:2011.14214). A size that `stride` does not
    divide is first extended by copies of its last row or column.

    Args:
        stride: distance between the cells kept, on both axes.
        p: of the norm; above 0 or infinity.
        return_phase: also give the phase of each sample, ``i * stride + j``, for a second branch to follow.

    Shape:
        ``(N, C, H, W)`` or ``(C, H, W)`` to the same with sizes ``ceil(H / stride)``, ``ceil(W / stride)``; phases are
        int64, ``(N,)`` or ``()``.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> x = torch.tensor([[[[0.0, 1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0]]]])
    >>> nn.AdaptivePolyphasePool2d()(x), nn.AdaptivePolyphasePool2d()(x.roll(1, -1))
    (tensor([[[[1., 2.]]]]), tensor([[[[2., 1.]]]]))
    """

    def __init__(self, stride: int = 2, p: float = 2.0, return_phase: bool = False) -> None:
        super().__init__()
        self.stride = integer(stride, "stride", 1)
        self.p = number(p, "p", low=0.0, allow_inf=True)
        self.return_phase = flag(return_phase, "return_phase")

    def forward(self, input: Tensor, phase: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Subsamples `input`, from the given `phase` of each sample if there is one."""
        given = check_maps(input, 2)
        batched = given.dim() == 4
        x = given if batched else given[None]
        height, width = -(-x.shape[-2] // self.stride), -(-x.shape[-1] // self.stride)
        more = (0, width * self.stride - x.shape[-1], 0, height * self.stride - x.shape[-2])
        if any(more):
            x = functional.pad(x, more, mode="replicate")
        n, channels = x.shape[:2]
        split = x.reshape(n, channels, height, self.stride, width, self.stride)
        phases = split.permute(0, 3, 5, 1, 2, 4).flatten(1, 2)
        chosen = self._choose(phases) if phase is None else self._check_phase(phase, n, batched)
        y = phases[torch.arange(n, device=x.device), chosen]
        if not batched:
            y, chosen = y[0], chosen[0]
        return (y, chosen) if self.return_phase else y

    def _choose(self, phases: Tensor) -> Tensor:
        # float64 for all: a rounding that depends on the shift must not decide between phases.
        norm = cast("Callable[..., Tensor]", torch.linalg.vector_norm)
        return norm(phases.detach(), self.p, dim=(2, 3, 4), dtype=torch.float64).argmax(1)

    def _check_phase(self, phase: object, count: int, batched: bool) -> Tensor:
        shape = (count,) if batched else ()
        if not isinstance(phase, Tensor) or phase.dtype != torch.int64:
            raise PoolTypeError(
                f"phase={show(phase)}", "phase is an int64 tensor", "pass the phase that return_phase=True gave"
            )
        if tuple(phase.shape) != shape:
            raise PoolError(
                f"phase of shape {tuple(phase.shape)}", f"phase has one number per sample: {shape}", "pass such a one"
            )
        if not torch.compiler.is_compiling() and not bool(((phase >= 0) & (phase < self.stride**2)).all()):
            raise PoolError(
                f"phase from {int(phase.min())} to {int(phase.max())}",
                f"a phase lies in [0, {self.stride**2}), the number of sub-grids",
                "pass the phase that return_phase=True gave",
            )
        return phase.reshape(count)

    def extra_repr(self) -> str:
        """stride, p, return_phase."""
        return f"stride={self.stride}, p={self.p}, return_phase={self.return_phase}"
