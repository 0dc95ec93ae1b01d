"""What poolings of sequences and segments promise beyond their formulas."""

import numpy as np
import pytest
import torch

from poolkit import nn
from poolkit.errors import PoolError, PoolTypeError

F64 = torch.float64
MODES = tuple(nn.MaskedPool.modes)
SEGMENT_MODES = (*nn.SegmentPool.modes, "softmax")
MASKED = {
    **{mode: lambda mode=mode: nn.MaskedPool(mode) for mode in MODES},
    "noisy-or": nn.NoisyOrPool,
    "linear-softmax": nn.LinearSoftmaxPool,
    "noisy-or-logits": lambda: nn.NoisyOrPool(from_logits=True),
    "linear-softmax-logits": lambda: nn.LinearSoftmaxPool(from_logits=True),
}


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("name", MASKED)
def test_padding_on_either_side_gives_what_no_padding_gives(name):
    module, x = MASKED[name](), uniform(2, 4, 3)
    want = module(x)
    for left, right in ((0, 3), (3, 0), (2, 1)):
        padded = torch.nn.functional.pad(x, (0, 0, left, right), value=torch.nan)
        mask = torch.zeros(2, 4 + left + right, dtype=torch.bool)
        mask[:, left : left + 4] = True
        torch.testing.assert_close(module(padded, mask), want)
        torch.testing.assert_close(module(padded[0], mask[0]), want[0])


@pytest.mark.parametrize("name", MASKED)
def test_a_row_without_elements_gives_zero_and_no_nan(name):
    module = MASKED[name]()
    x = uniform(2, 3, 2).masked_fill(torch.tensor([False, True])[:, None, None], torch.nan).requires_grad_()
    mask = torch.tensor([[True, True, False], [False, False, False]])
    y = module(x, mask)
    y.sum().backward()
    assert (y[1] == 0).all()
    assert x.grad.isfinite().all()
    assert (x.grad[~mask] == 0).all()


@pytest.mark.parametrize("name", MASKED)
def test_a_nan_among_real_elements_stays_in_its_feature(name):
    x = uniform(1, 3, 2)
    x[0, 0 if name == "cls" else 2, 1] = torch.nan
    y = MASKED[name]()(x)
    assert y.isnan().tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("mode", "want"),
    [("mean", 2.0), ("max", 4.0), ("min", -2.0), ("sum", 6.0), ("std", 8**0.5), ("cls", 4.0), ("last", -2.0),
     ("weighted_mean", (4 + 2 * 4 - 3 * 2) / 6), ("mean_sqrt_len", 6 / 3**0.5)],
)  # fmt: skip
def test_modes_by_hand(mode, want):
    x = torch.tensor([[[9.0], [4.0], [9.0], [4.0], [-2.0]]])
    mask = torch.tensor([[False, True, False, True, True]])
    torch.testing.assert_close(nn.MaskedPool(mode)(x, mask), torch.tensor([[want]]))


def test_a_deviation_of_zero_has_a_gradient_of_zero():
    for module, rest in ((nn.MaskedPool("std"), ()), (nn.SegmentPool("std"), (torch.zeros(3).long(),))):
        x = torch.full((1, 3, 2) if not rest else (3, 2), 0.7, requires_grad=True)
        y = module(x, *rest, **({"num_segments": 2} if rest else {}))
        y.sum().backward()
        assert (y == 0).all()
        assert (x.grad == 0).all()


def test_the_first_of_equal_maxima_receives_the_gradient():
    for mode in ("max", "min"):
        x = torch.ones(1, 4, 1, requires_grad=True)
        nn.MaskedPool(mode)(x, torch.tensor([[False, True, True, True]])).backward()
        assert x.grad.flatten().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("mode", [mode for mode in SEGMENT_MODES if mode in MODES])
def test_segments_are_masked_rows(mode):
    x, ids = uniform(9, 4), torch.tensor([2, 0, 2, 4, 0, 2, 2, 4, 0])
    rows = x.expand(6, 9, 4)
    mask = ids == torch.arange(6)[:, None]
    torch.testing.assert_close(nn.SegmentPool(mode)(x, ids, num_segments=6), nn.MaskedPool(mode)(rows, mask))


@pytest.mark.parametrize("mode", SEGMENT_MODES)
def test_ids_in_any_order_offsets_and_one_axis(mode):
    module, x = nn.SegmentPool(mode), uniform(7, 2)
    ids = torch.tensor([1, 1, 1, 2, 2, 2, 2])
    order = torch.tensor([6, 0, 3, 5, 1, 4, 2])
    want = module(x, ids, num_segments=4)
    torch.testing.assert_close(module(x[order], ids[order], num_segments=4), want)
    torch.testing.assert_close(module(x, offsets=torch.tensor([0, 0, 3, 7, 7])), want)
    torch.testing.assert_close(module(x[:, 0], ids, num_segments=4), want[:, 0])
    assert (want[[0, 3]] == 0).all()


@pytest.mark.parametrize("mode", SEGMENT_MODES)
def test_empty_segments_and_neighbours_have_no_nan(mode):
    x = uniform(4, 2)
    x[3] = torch.nan
    x.requires_grad_()
    y = nn.SegmentPool(mode)(x, torch.tensor([0, 2, 2, 3]), num_segments=5)
    assert y[:3].isfinite().all()
    assert y[4].isfinite().all()
    assert y[3].isnan().all()
    assert torch.autograd.grad(y[:3].sum(), x)[0][:3].isfinite().all()


def test_segments_agree_with_torch():
    x, lengths = uniform(9, 3), torch.tensor([2, 0, 4, 3])
    offsets = torch.cat([torch.zeros(1).long(), lengths.cumsum(0)])
    for mode in ("sum", "mean", "max", "min"):
        want = torch.segment_reduce(x, mode, lengths=lengths, initial=0 if mode in ("sum", "mean") else None, axis=0)
        want[1] = 0
        torch.testing.assert_close(nn.SegmentPool(mode)(x, offsets=offsets), want)


def test_segment_softmax_between_mean_and_extremes():
    x, ids = uniform(8, 2), torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])

    def pooled(mode, **settings):
        return nn.SegmentPool(mode, **settings)(x, ids, num_segments=2)

    torch.testing.assert_close(pooled("softmax", beta=1e-9), pooled("mean"))
    torch.testing.assert_close(pooled("softmax", beta=1e6), pooled("max"))
    torch.testing.assert_close(pooled("softmax", beta=-1e6), pooled("min"))


def test_equal_maxima_of_a_segment_share_the_gradient():
    x = torch.ones(3, requires_grad=True)
    nn.SegmentPool("max")(x, torch.tensor([0, 1, 0]), num_segments=2).sum().backward()
    assert x.grad.tolist() == [0.5, 1.0, 0.5]


def test_k_max_keeps_the_order_and_the_first_of_equals():
    x = torch.tensor([[[3.0, 1.0, 3.0, 2.0, 3.0]]], requires_grad=True)
    y = nn.KMaxPool1d(2)(x)
    y.sum().backward()
    assert y.tolist() == [[[3.0, 3.0]]]
    assert x.grad.tolist() == [[[1.0, 0.0, 1.0, 0.0, 0.0]]]
    torch.testing.assert_close(nn.KMaxPool1d(5)(x), x)
    torch.testing.assert_close(nn.KMaxPool1d(1)(x), x.amax(-1, keepdim=True))
    assert nn.KMaxPool1d(1)(torch.tensor([[1.0, torch.nan, 3.0]])).isnan().all()


def test_chunks_are_those_of_array_split():
    x = uniform(2, 3, 11)
    for chunks in (1, 2, 3, 4, 10, 11):
        want = np.stack([part.max(-1) for part in np.array_split(x.numpy(), chunks, -1)], -1)
        assert (nn.ChunkMaxPool1d(chunks)(x).numpy() == want).all()


def test_noisy_or_by_hand_and_without_underflow():
    pool = nn.NoisyOrPool()
    assert pool(torch.full((1, 4, 1), 1e-12)).item() == pytest.approx(4e-12, rel=1e-6)
    assert pool(torch.full((1, 1000, 1), 1e-10)).item() == pytest.approx(1e-7, rel=1e-5)
    assert pool(torch.tensor([[[1.0], [0.3]]])).item() == 1.0
    assert pool(torch.zeros(1, 5, 1)).item() == 0.0
    assert pool(torch.tensor([[1.5]])).isnan().all()
    z = torch.tensor([[[30.0], [-30.0]]], dtype=F64, requires_grad=True)
    y = nn.NoisyOrPool(from_logits=True)(z)
    y.sum().backward()
    np.testing.assert_allclose(z.grad.flatten().numpy(), [np.exp(-30), np.exp(-60)], rtol=1e-6)


@pytest.mark.parametrize(
    "p", [[0.0, 0.0, 0.0], [0.2, 0.0, 0.7], [1.0, 0.2, 0.5], [1.0, 1.0, 0.5], [1.0, 1.0, 1.0], [1.0], [0.0]]
)
def test_noisy_or_has_the_gradient_of_the_product_at_the_ends(p):
    x = torch.tensor(p, dtype=F64)[:, None].requires_grad_()
    nn.NoisyOrPool()(x).backward()
    want = [np.prod([1 - other for j, other in enumerate(p) if j != i]) for i in range(len(p))]
    np.testing.assert_allclose(x.grad[:, 0].numpy(), want, rtol=1e-12)


def test_linear_softmax_of_equal_and_of_tiny_values():
    pool = nn.LinearSoftmaxPool()
    torch.testing.assert_close(pool(torch.full((1, 5, 1), 0.3)), torch.tensor([[0.3]]))
    torch.testing.assert_close(pool(torch.tensor([[3e-30], [1e-30]])), torch.tensor([2.5e-30]), rtol=1e-5, atol=0)
    x = torch.zeros(1, 4, 2, requires_grad=True)
    y = pool(x)
    y.sum().backward()
    assert (y == 0).all()
    assert (x.grad == 0).all()


@pytest.mark.parametrize(
    ("make", "blamed"),
    [
        (lambda: nn.MaskedPool("median"), "mode"),
        (lambda: nn.MaskedPool(None), "mode"),
        (lambda: nn.SegmentPool("cls"), "mode"),
        (lambda: nn.SegmentPool("softmax", beta=0), "beta"),
        (lambda: nn.SegmentPool("softmax", beta=float("nan")), "beta"),
        (lambda: nn.KMaxPool1d(0), "k"),
        (lambda: nn.KMaxPool1d(1.5), "k"),
        (lambda: nn.ChunkMaxPool1d(0), "chunks"),
        (lambda: nn.NoisyOrPool(None), "from_logits"),
        (lambda: nn.LinearSoftmaxPool("yes"), "from_logits"),
    ],
)
def test_a_bad_argument_is_named(make, blamed):
    with pytest.raises(PoolError) as caught:
        make()
    assert caught.value.gave.startswith(f"{blamed}=")


def test_too_short_a_signal():
    for module, name in ((nn.KMaxPool1d(4), "k=4"), (nn.ChunkMaxPool1d(4), "chunks=4")):
        with pytest.raises(PoolError, match=name):
            module(torch.zeros(1, 2, 3))
        with pytest.raises(PoolError, match="input"):
            module(torch.zeros(5))


@pytest.mark.parametrize("name", MASKED)
def test_bad_sequences_and_masks(name):
    module, x = MASKED[name](), torch.zeros(2, 5, 3)
    for bad, kind, words in (
        ((x[..., None],), PoolError, "input"),
        ((x[:, :0],), PoolError, "empty"),
        ((x.int(),), PoolTypeError, "input of dtype"),
        ((None,), PoolTypeError, "input=None"),
        ((x, torch.ones(2, 5)), PoolTypeError, "mask of dtype"),
        ((x, torch.ones(2, 5, 3).bool()), PoolError, "mask of shape"),
        ((x, torch.ones(5, 2).bool()), PoolError, "mask of shape"),
    ):
        with pytest.raises(kind, match=words):
            module(*bad)


IDS = torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "ids=None, offsets=None"),
        ({"ids": IDS, "offsets": torch.tensor([0, 3])}, "ids"),
        ({"ids": IDS}, "num_segments"),
        ({"ids": IDS, "num_segments": 1}, "ids from 0 to 1"),
        ({"ids": IDS - 1, "num_segments": 2}, "ids from -1 to 0"),
        ({"ids": IDS, "num_segments": 0}, "num_segments"),
        ({"ids": IDS[:2], "num_segments": 2}, "ids of shape"),
        ({"ids": IDS.float(), "num_segments": 2}, "ids of dtype"),
        ({"ids": [0, 1, 1], "num_segments": 2}, "ids="),
        ({"offsets": torch.tensor([0, 2])}, "offsets"),
        ({"offsets": torch.tensor([1, 3])}, "offsets"),
        ({"offsets": torch.tensor([0, 2, 1, 3])}, "offsets"),
        ({"offsets": torch.tensor([3])}, "offsets of shape"),
        ({"offsets": torch.tensor([0, 3]).int()}, "offsets of dtype"),
        ({"offsets": torch.tensor([0, 3]), "num_segments": 2}, "num_segments"),
    ],
)
def test_bad_ids_and_offsets(given, words):
    with pytest.raises(PoolError, match=words):
        nn.SegmentPool("sum")(torch.zeros(3, 2), **given)


def test_no_rows_and_no_axis():
    pool = nn.SegmentPool("max")
    with pytest.raises(PoolError, match="at least one row"):
        pool(torch.zeros(0, 2), torch.zeros(0).long(), num_segments=2)
    with pytest.raises(PoolError, match="input"):
        pool(torch.tensor(1.0), IDS, num_segments=2)
