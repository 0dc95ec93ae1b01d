"""Blur pooling and polyphase sampling: the three conventions, sizes, laws, and what is refused."""

import copy

import pytest
import torch
from torch.nn import functional

from poolkit import PoolError, nn


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def by_hand(x: torch.Tensor, kernel: int, stride: int, pads: tuple[int, int], mode: str) -> torch.Tensor:
    """A library's own recipe: pad, then a depthwise convolution with the outer product of Pascal's row."""
    row = torch.tensor({3: [1.0, 2.0, 1.0], 4: [1.0, 3.0, 3.0, 1.0], 5: [1.0, 4.0, 6.0, 4.0, 1.0]}[kernel])
    weight = (row[:, None] * row / row.sum() ** 2).expand(x.shape[1], 1, kernel, kernel)
    return functional.conv2d(functional.pad(x, [*pads, *pads], mode=mode), weight, stride=stride, groups=x.shape[1])


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize(
    ("convention", "kernel", "pads", "mode"),
    [
        ("adobe", None, (1, 2), "reflect"),
        ("adobe", 3, (1, 1), "reflect"),
        ("adobe", 5, (2, 2), "reflect"),
        ("timm", None, (1, 1), "reflect"),
        ("timm", 4, (2, 2), "reflect"),
        ("kornia", None, (1, 1), "constant"),
        ("kornia", 4, (1, 1), "constant"),
        ("kornia", 5, (2, 2), "constant"),
    ],
)
def test_each_convention_is_that_of_its_library(convention, kernel, pads, mode, size):
    x = random(2, 3, size, size)
    y = nn.BlurPool2d(kernel, convention=convention)(x)
    taps = kernel or {"adobe": 4}.get(convention, 3)
    torch.testing.assert_close(y, by_hand(x, taps, 2, pads, mode))


def test_the_conventions_differ_for_even_filters():
    x = random(1, 1, 8, 8)
    shapes = {name: tuple(nn.BlurPool2d(4, convention=name)(x).shape[2:]) for name in ("adobe", "timm", "kornia")}
    assert shapes == {"adobe": (4, 4), "timm": (5, 5), "kornia": (4, 4)}
    first = nn.BlurPool2d(4, padding="zeros", convention="adobe")(x)
    assert not torch.equal(nn.BlurPool2d(4, convention="adobe")(x), first)


@pytest.mark.parametrize("size", range(3, 12))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_adobe_and_filters_of_3_give_one_output_per_stride(size, stride):
    x = random(1, 1, size)
    for kernel in range(1, 6):
        blur = nn.BlurPool1d(kernel, stride, "replicate", "adobe")
        assert blur(x).shape[-1] == -(-size // stride)
    assert nn.BlurPool1d(3, 2)(x).shape[-1] == -(-size // 2)
    assert nn.BlurPool1d(3, 2, convention="kornia")(x).shape[-1] == -(-size // 2)


@pytest.mark.parametrize("size", range(4, 20))
def test_max_blur_has_the_sizes_of_the_max_pooling_it_replaces(size):
    x = random(1, 2, size, 24)
    assert nn.MaxBlurPool2d(3, max_padding=1)(x).shape == nn.MaxPool2d(3, 2, 1)(x).shape
    if size % 2 == 0:
        assert nn.MaxBlurPool2d(2)(x).shape == nn.MaxPool2d(2)(x).shape
        assert nn.MaxBlurPool2d(2, convention="adobe")(x).shape == nn.MaxPool2d(2)(x).shape


def test_constants_stay_constant_but_for_zeros_outside():
    x = torch.full((1, 2, 6, 6), 3.0)
    for padding in ("reflect", "replicate", "circular"):
        assert torch.equal(nn.BlurPool2d(padding=padding)(x), torch.full((1, 2, 3, 3), 3.0))
    assert nn.BlurPool2d(padding="zeros")(x)[0, 0, 0, 0] < 3


def test_nothing_is_learned_and_nothing_is_kept():
    for module in (nn.BlurPool2d(), nn.MaxBlurPool2d(), nn.AdaptivePolyphasePool2d()):
        assert not list(module.parameters())
        assert not module.state_dict()


def test_blur_is_linear():
    blur = nn.BlurPool2d(5).double()
    x, y = random(1, 2, 7, 8).double(), random(1, 2, 8, 7).double().mT
    torch.testing.assert_close(blur(2 * x - 3 * y), 2 * blur(x) - 3 * blur(y))


def test_a_stride_of_one_commutes_with_circular_shifts():
    blur = nn.BlurPool2d(3, 1, "circular")
    x = random(1, 2, 6, 7)
    torch.testing.assert_close(blur(x.roll((1, 2), (2, 3))), blur(x).roll((1, 2), (2, 3)))


def test_blurred_maxima_move_less_than_maxima():
    x = random(8, 4, 32, 32)

    def change(pool):
        return (pool(x) - pool(x.roll(1, -1))).abs().mean() / pool(x).std()

    assert change(nn.MaxBlurPool2d(2, filter_size=5)) < 0.75 * change(nn.MaxPool2d(2))


def rolls_of(y: torch.Tensor) -> list[torch.Tensor]:
    return [y.roll((a, b), (-2, -1)) for a in range(y.shape[-2]) for b in range(y.shape[-1])]


@pytest.mark.parametrize(("stride", "p"), [(2, 2.0), (3, 1.0), (2, float("inf"))])
def test_polyphase_sampling_commutes_with_every_circular_shift(stride, p):
    pool = nn.AdaptivePolyphasePool2d(stride, p)
    x = random(1, 3, 6, 12)
    y = pool(x)
    for a in range(6):
        for b in range(12):
            shifted = pool(x.roll((a, b), (2, 3)))
            assert any(torch.equal(shifted, candidate) for candidate in rolls_of(y))


def test_each_sample_has_its_own_phase():
    x = torch.zeros(4, 1, 4, 4)
    for n in range(4):
        x[n, 0, n // 2 :: 2, n % 2 :: 2] = n + 1.0
    y, phase = nn.AdaptivePolyphasePool2d(return_phase=True)(x)
    assert phase.tolist() == [0, 1, 2, 3]
    assert (y == torch.arange(1.0, 5)[:, None, None, None]).all()
    assert torch.equal(nn.AdaptivePolyphasePool2d()(x, phase), y)
    other = nn.AdaptivePolyphasePool2d()(x, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(other, x[..., ::2, ::2])


def test_equal_phases_give_the_first():
    _, phase = nn.AdaptivePolyphasePool2d(return_phase=True)(torch.ones(2, 1, 4, 4))
    assert phase.tolist() == [0, 0]
    _, phase = nn.AdaptivePolyphasePool2d(return_phase=True)(torch.zeros(1, 3, 3))
    assert phase.shape == ()


def test_odd_sizes_keep_their_last_row():
    x = torch.zeros(1, 1, 3, 1)
    x[0, 0, 2] = 5.0
    assert nn.AdaptivePolyphasePool2d()(x).flatten().tolist() == [0.0, 5.0]


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: nn.BlurPool2d(0), "kernel_size"),
        (lambda: nn.BlurPool2d((3, 3, 3)), "kernel_size"),
        (lambda: nn.BlurPool2d(3, 0), "stride"),
        (lambda: nn.BlurPool2d(3, 2, "mirror"), "padding"),
        (lambda: nn.BlurPool2d(3, 2, 1), "padding"),
        (lambda: nn.BlurPool2d(convention="torch"), "convention"),
        (lambda: nn.MaxBlurPool2d(0), "kernel_size"),
        (lambda: nn.MaxBlurPool2d(filter_size=-1), "kernel_size"),
        (lambda: nn.MaxBlurPool1d(2, max_padding=2), "max_padding"),
        (lambda: nn.AdaptivePolyphasePool2d(0), "stride"),
        (lambda: nn.AdaptivePolyphasePool2d(p=0.0), "p="),
        (lambda: nn.AdaptivePolyphasePool2d(return_phase=None), "return_phase"),
        (lambda: nn.BlurPool2d()(torch.rand(1, 1, 1, 8)), "reflect"),
        (lambda: nn.BlurPool2d(5, padding="circular")(torch.rand(1, 1, 1, 8)), "circular"),
        (lambda: nn.BlurPool1d(4, convention="kornia")(torch.rand(1, 1, 1)), "kernel_size"),
        (lambda: nn.BlurPool2d()(torch.rand(8, 8)), "input x"),
        (lambda: nn.MaxBlurPool3d()(torch.rand(1, 1, 8, 8)[0]), "input x"),
        (lambda: nn.MaxBlurPool2d()(torch.ones(1, 1, 8, 8, dtype=torch.uint8)), "input x"),
        (lambda: nn.AdaptivePolyphasePool2d()(torch.rand(4, 4)), "input x"),
        (lambda: nn.AdaptivePolyphasePool2d()(torch.rand(2, 1, 4, 4), torch.tensor([0, 4])), "phase"),
        (lambda: nn.AdaptivePolyphasePool2d()(torch.rand(2, 1, 4, 4), torch.tensor([0])), "phase"),
        (lambda: nn.AdaptivePolyphasePool2d()(torch.rand(1, 1, 4, 4), torch.tensor([0.0])), "phase"),
    ],
)
def test_a_bad_argument_is_named(make, named):
    with pytest.raises(PoolError) as caught:
        make()
    assert named in caught.value.gave


@pytest.mark.parametrize("module", [nn.BlurPool2d(4), nn.MaxBlurPool2d(), nn.AdaptivePolyphasePool2d(3)], ids=str)
def test_shapes_are_known_without_numbers(module):
    x = random(2, 4, 9, 7)
    assert copy.deepcopy(module).to("meta")(x.to("meta")).shape == module(x).shape
