"""Unpoolings: transposes, round trips, positions, and what is refused."""

import itertools

import pytest
import torch

from poolkit import PoolError, nn


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum()


GEOMETRIES = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 3, "stride": 1, "padding": "same"},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": 2, "stride": 2, "dilation": 2},
    {"kernel_size": 4, "stride": 2, "padding": 2, "divisor_override": 5},
]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_average_unpooling_is_the_transpose_of_average_pooling(geometry, rank):
    if rank == 1 and "divisor_override" in geometry:
        geometry = {**geometry, "divisor_override": None}
        pool = nn.AvgPool1d(**{key: value for key, value in geometry.items() if key != "divisor_override"})
    else:
        pool = getattr(nn, f"AvgPool{rank}d")(**geometry)
    unpool = getattr(nn, f"AvgUnpool{rank}d")(**geometry)
    x = random(2, 3, *(7, 6, 5)[:rank])
    y = random(*pool(x).shape).flip(0)
    torch.testing.assert_close(dot(pool(x), y), dot(x, unpool(y, x.shape)))


def test_without_an_output_size_the_windows_are_just_covered():
    for kernel, stride, padding, dilation in itertools.product((2, 3), (1, 2, 3), (0, 1), (1, 2)):
        y = random(1, 2, 4, 3)
        unpool = nn.AvgUnpool2d(kernel, stride, padding, dilation=dilation)
        x = unpool(y)
        assert nn.AvgPool2d(kernel, stride, padding, dilation=dilation)(x).shape == y.shape
        size = (4 - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
        assert x.shape[2] == size
    assert nn.AvgUnpool1d(3, 2, "same")(random(1, 2, 4)).shape == (1, 2, 8)
    assert nn.AvgUnpool1d(3, 2, "valid")(random(1, 2, 4)).shape == (1, 2, 9)
    assert nn.AvgUnpool1d(3, 2, ((1, 0),))(random(1, 2, 4)).shape == (1, 2, 8)


def test_a_divisor_of_one_repeats_and_is_undone_by_average_pooling():
    y = random(2, 3, 4, 5)
    x = nn.AvgUnpool2d(2, divisor_override=1)(y)
    torch.testing.assert_close(x, y.repeat_interleave(2, 2).repeat_interleave(2, 3), rtol=0, atol=0)
    torch.testing.assert_close(nn.AvgPool2d(2)(x), y)


def test_average_unpooling_can_be_differentiated_for_ever():
    y = random(1, 1, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(nn.AvgUnpool1d(3, 2, 1), (y,))


def test_soft_unpooling_shares_out_what_soft_pooling_gave():
    x = random(2, 3, 8, 6)
    y = nn.SoftPool2d(2)(x)
    z = nn.SoftUnpool2d(2)(y, x)
    torch.testing.assert_close(nn.SumPool2d(2)(z), y)
    weights = z / y.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(nn.SumPool2d(2)(weights * x), y)


def test_soft_unpooling_of_equal_cells_is_average_unpooling():
    y = random(1, 2, 3, 3)
    x = torch.full((1, 2, 7, 7), 1.5, dtype=torch.float64)
    torch.testing.assert_close(nn.SoftUnpool2d(3, 2)(y, x), nn.AvgUnpool2d(3, 2)(y))


def test_sharp_soft_unpooling_is_max_unpooling():
    x = torch.tensor([[[1.0, 5.0, 4.0, 2.0]]])
    y, indices = nn.MaxPool1d(2, return_indices=True)(x)
    torch.testing.assert_close(nn.SoftUnpool1d(2, beta=1e4)(y, x), nn.MaxUnpool1d(2)(y, indices))


def test_soft_unpooling_survives_any_magnitude():
    x = torch.tensor([[[1e30, -1e30, 0.0, 800.0, 0.0, 0.0]]], requires_grad=True)
    z = nn.SoftUnpool1d(2)(nn.SoftPool1d(2)(x), x)
    z.sum().backward()
    assert z.isfinite().all()
    assert x.grad.isfinite().all()
    assert z[0, 0, 3] == 800


def test_soft_unpooling_can_be_differentiated_twice():
    y, x = random(1, 1, 2, 2).requires_grad_(), random(1, 1, 5, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(nn.SoftUnpool2d(3, 2, 1), (y[..., :2], x[..., :3, :3]))


@pytest.mark.parametrize(
    "pool",
    [
        nn.FractionalMaxPool2d(2, output_ratio=0.7, return_indices=True),
        nn.AdaptiveMaxPool2d((3, 4), return_indices=True),
        nn.GlobalMaxPool2d(keepdims=True, return_indices=True),
        nn.MaxPool2d(3, 2, 1, return_indices=True),
        nn.MinPool2d(2, return_indices=True),
    ],
    ids=str,
)
def test_indices_of_every_pooling_lead_back(pool):
    x = random(2, 3, 9, 7)
    y, indices = pool(x)
    z = nn.IndexUnpool2d()(y, indices, x.shape)
    assert z.shape == x.shape
    kept = z != 0
    assert torch.equal(z[kept], x[kept])
    assert torch.equal(z.flatten(2).gather(2, indices.flatten(2)), y.flatten(2))


def test_the_same_answer_as_max_unpooling_where_that_applies():
    x = random(2, 3, 9, 6)
    y, indices = nn.MaxPool2d(2, return_indices=True)(x)
    assert torch.equal(nn.IndexUnpool2d()(y, indices, x.shape), nn.MaxUnpool2d(2)(y, indices, x.shape))
    assert torch.equal(nn.IndexUnpool2d()(y[0], indices[0], (9, 6)), nn.MaxUnpool2d(2)(y[0], indices[0], (9, 6)))


def test_of_equal_indices_the_last_alone_has_value_and_gradient():
    y = torch.tensor([[[1.0, 2.0, 3.0]]], requires_grad=True)
    z = nn.IndexUnpool1d()(y, torch.tensor([[[4, 4, 0]]]), (5,))
    assert z.tolist() == [[[3.0, 0.0, 0.0, 0.0, 2.0]]]
    z.sum().backward()
    assert y.grad.tolist() == [[[0.0, 1.0, 1.0]]]


Y, INDICES = torch.rand(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: nn.AvgUnpool2d(0), "kernel_size"),
        (lambda: nn.AvgUnpool2d(2, divisor_override=0), "divisor_override"),
        (lambda: nn.AvgUnpool2d(2, count_include_pad="no"), "count_include_pad"),
        (lambda: nn.AvgUnpool2d((2, 2, 2)), "kernel_size"),
        (lambda: nn.AvgUnpool2d(2)(Y, (9, 4)), "output_size"),
        (lambda: nn.AvgUnpool2d(2)(Y, (4,)), "output_size"),
        (lambda: nn.AvgUnpool2d(2)(Y, 4), "output_size"),
        (lambda: nn.AvgUnpool2d(2)(Y, (4, 4.0)), "output_size"),
        (lambda: nn.AvgUnpool2d(2)(Y[0, 0]), "input x"),
        (lambda: nn.AvgUnpool2d(2)(INDICES), "input x"),
        (lambda: nn.SoftUnpool2d(2, beta=0), "beta"),
        (lambda: nn.SoftUnpool2d(2, padding="mirror"), "padding"),
        (lambda: nn.SoftUnpool2d(2)(Y, torch.rand(1, 2, 7, 4)), "output_size"),
        (lambda: nn.SoftUnpool2d(2)(Y, torch.rand(1, 3, 4, 4)), "pooled"),
        (lambda: nn.SoftUnpool2d(2)(Y, torch.rand(1, 2, 4, 4).double()), "pooled"),
        (lambda: nn.SoftUnpool2d(2)(Y, [1.0]), "pooled"),
        (lambda: nn.IndexUnpool2d()(Y, INDICES, (0, 4)), "output_size"),
        (lambda: nn.IndexUnpool2d()(Y, INDICES, None), "output_size"),
        (lambda: nn.IndexUnpool2d()(Y, INDICES, (2**40, 2**40)), "output_size"),
        (lambda: nn.AvgUnpool2d(2)(Y, (2**62, 4)), "output_size"),
        (lambda: nn.IndexUnpool2d()(Y, INDICES[:, :1], (4, 4)), "indices"),
        (lambda: nn.IndexUnpool2d()(Y, INDICES.float(), (4, 4)), "indices"),
        (lambda: nn.IndexUnpool2d()(Y, INDICES + 16, (4, 4)), "indices"),
        (lambda: nn.IndexUnpool2d()(Y, INDICES - 1, (4, 4)), "indices"),
        (lambda: nn.IndexUnpool2d()(Y, None, (4, 4)), "indices"),
    ],
)
def test_a_bad_argument_is_named(call, named):
    with pytest.raises(PoolError) as caught:
        call()
    assert named in caught.value.gave


def test_shapes_are_known_without_numbers():
    y, x = Y.to("meta"), torch.rand(1, 2, 5, 4, device="meta")
    assert nn.AvgUnpool2d(2)(y, (5, 4)).shape == x.shape
    assert nn.SoftUnpool2d(2)(y, x).shape == x.shape
    assert nn.IndexUnpool2d()(y, INDICES.to("meta"), (5, 4)).shape == x.shape
