"""What poolings by attention, of bags, sets and capsules promise beyond their formulas."""

import math

import pytest
import torch
from torch.nn import functional

from poolkit import nn
from poolkit.errors import PoolError, PoolTypeError
from poolkit.nn.capsule import squash

F64 = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def made(make):
    torch.manual_seed(1)
    return make().to(F64)


MASKED = {
    "latent": lambda: nn.AttentionPoolLatent(8, num_heads=2),
    "simpool": lambda: nn.SimPool(8),
    "simpool-gamma": lambda: nn.SimPool(8, 2, 1.25),
    "abmil": lambda: nn.ABMILPool(8, 4),
    "gated": lambda: nn.GatedABMILPool(8, 4),
    "self-attentive": lambda: nn.SelfAttentivePool(8, 4, 2),
    "pma": lambda: nn.PMA(8, 2, 2, layer_norm=True),
}
# Weighted sums of elements; the others put layers with biases after them.
ZERO_WHERE_EMPTY = ("simpool", "simpool-gamma", "abmil", "gated", "self-attentive", "capsules")


@pytest.mark.parametrize("name", MASKED)
def test_the_order_of_elements_does_not_matter(name):
    module, x = made(MASKED[name]), draw(2, 6, 8)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    torch.testing.assert_close(module(x[:, order]), module(x))


@pytest.mark.parametrize("name", [*MASKED, "capsules"])
def test_padding_has_no_influence_not_even_a_nan(name):
    make = {**MASKED, "capsules": lambda: nn.CapsuleRouting(6, 8, 3, 4)}[name]
    module, x = made(make), draw(3, 6, 8)
    mask = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1], [0] * 6]).bool()
    want = module(x, mask)
    spoilt = x.masked_fill(~mask[..., None], torch.nan).requires_grad_()
    got = module(spoilt, mask)
    torch.testing.assert_close(got, want)
    got.square().sum().backward()
    assert spoilt.grad.isfinite().all()
    assert (spoilt.grad[~mask] == 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    if name in ZERO_WHERE_EMPTY:
        assert (got[2] == 0).all()
    if name != "capsules":
        torch.testing.assert_close(got[0], module(x[0, mask[0]]))


@pytest.mark.parametrize("name", MASKED)
def test_a_sequence_without_a_batch_axis(name):
    module, x = made(MASKED[name]), draw(6, 8)
    mask = torch.tensor([1, 0, 1, 1, 0, 1]).bool()
    torch.testing.assert_close(module(x, mask), module(x[None], mask[None])[0])


@pytest.mark.parametrize("name", ["abmil", "gated", "simpool"])
def test_weights_sum_to_one(name):
    module, x = made(MASKED[name]), draw(2, 6, 8)
    mask = torch.tensor([[1, 1, 0, 1, 0, 0], [0] * 6]).bool()
    _, weights = module(x, mask, return_attention=True)
    weights = weights.reshape(2, 6)
    assert (weights[~mask] == 0).all()
    torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 0.0], dtype=F64))
    single, _ = module(x[0], mask[0], return_attention=True)
    torch.testing.assert_close(single, module(x, mask)[0])


def test_clip_is_multihead_attention_of_the_mean():
    module, x = made(lambda: nn.AttentionPool2d(8, 2, 3, 5)), draw(2, 8, 3, 3)
    tokens = x.flatten(2).permute(2, 0, 1)
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + module.positional_embedding[:, None]
    parts = (module.q_proj, module.k_proj, module.v_proj)
    want, _ = functional.multi_head_attention_forward(
        tokens[:1], tokens, tokens, 8, 2, None, torch.cat([part.bias for part in parts]), None, None,
        add_zero_attn=False, dropout_p=0.0, out_proj_weight=module.c_proj.weight, out_proj_bias=module.c_proj.bias,
        use_separate_proj_weight=True, q_proj_weight=parts[0].weight, k_proj_weight=parts[1].weight,
        v_proj_weight=parts[2].weight,
    )  # fmt: skip
    torch.testing.assert_close(module(x), want[0])
    torch.testing.assert_close(module(x[0]), want[0, 0])


def test_clip_has_the_names_and_shapes_of_the_published_weights():
    # The ResNet-50 of the paper: 2048 channels, 32 heads, a 7 x 7 grid, 1024 outputs.
    with torch.device("meta"):
        module = nn.AttentionPool2d(2048, 32, 7, 1024)
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    assert shapes == {
        "positional_embedding": (50, 2048),
        **{f"{name}_proj.weight": (2048, 2048) for name in "qkv"},
        **{f"{name}_proj.bias": (2048,) for name in "qkv"},
        "c_proj.weight": (1024, 2048),
        "c_proj.bias": (1024,),
    }


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_clip_keeps_a_constant_embedding_at_every_size(mode):
    module = made(lambda: nn.AttentionPool2d(8, 2, (3, 4), interpolation=mode))
    with torch.no_grad():
        module.positional_embedding[:] = module.positional_embedding[0]
    x = draw(1, 8, 1, 1).expand(1, 8, 6, 5)
    torch.testing.assert_close(module(x), module(x[..., :4, :2]))
    torch.testing.assert_close(module(x), module(x[..., :3, :4]))


def test_the_latent_head_is_multihead_attention_and_an_mlp():
    module, x = made(lambda: nn.AttentionPoolLatent(8, num_heads=2, latent_len=2, pool_type="none")), draw(3, 5, 8)
    mask = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=F64)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([module.q.weight, module.kv.weight]))
        attention.in_proj_bias.copy_(torch.cat([module.q.bias, module.kv.bias]))
    attention.out_proj.load_state_dict(module.proj.state_dict())
    z, _ = attention(module.latent.expand(3, -1, -1), x, x, key_padding_mask=~mask)
    torch.testing.assert_close(module(x, mask), z + module.mlp(module.norm(z)))


def test_how_several_latents_become_one():
    everything = made(lambda: nn.AttentionPoolLatent(8, num_heads=2, latent_len=3, pool_type="none"))
    x = draw(2, 5, 8)
    for kind, want in (("token", everything(x)[:, 0]), ("avg", everything(x).mean(1))):
        module = made(lambda kind=kind: nn.AttentionPoolLatent(8, num_heads=2, latent_len=3, pool_type=kind))
        torch.testing.assert_close(module(x), want)


def test_seeds_attend_as_multihead_attention_with_their_own_scale():
    module, x = made(lambda: nn.PMA(8, 2, 3, scale=4**-0.5)), draw(2, 5, 8)
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=F64)
    parts = (module.q_proj, module.k_proj, module.v_proj)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    attention.out_proj.load_state_dict(module.out_proj.state_dict())
    y, seeds = module.rff(x).relu(), module.seeds.expand(2, -1, -1)
    h = seeds + attention(seeds, y, y)[0]
    torch.testing.assert_close(module(x), h + module.rff_out(h).relu())
    assert nn.PMA(64, 4, 1).scale == 1 / 8


def test_simpool_of_a_sample_knows_nothing_of_its_neighbours():
    module, x = made(lambda: nn.SimPool(8, gamma=1.25)), draw(3, 6, 8)
    together = module(torch.cat([x, 100 * draw(1, 6, 8, seed=5)]))[:3]
    torch.testing.assert_close(together, module(x))
    torch.testing.assert_close(together[1], module(x[1]))


def test_simpool_with_gamma_1_is_the_plain_one_above_the_minimum():
    plain, power = made(lambda: nn.SimPool(8)), made(lambda: nn.SimPool(8, gamma=1.0))
    x = draw(3, 6, 8)
    lowest = plain.norm(x).amin((1, 2))[:, None]
    torch.testing.assert_close(power(x), plain(x) - lowest + power.eps)


def test_simpool_of_a_constant_has_no_nan():
    for gamma in (None, 0.5, 1.25, 3.0):
        module = nn.SimPool(4, gamma=gamma)
        x = torch.ones(1, 4, 2, 3, requires_grad=True)
        y = module(x)
        y.sum().backward()
        assert y.isfinite().all()
        assert x.grad.isfinite().all()


def test_abmil_by_hand():
    module = nn.ABMILPool(1, 1, bias=False)
    with torch.no_grad():
        module.V.weight.fill_(1.0)
        module.w.weight.fill_(2.0)
    y, weights = module(torch.tensor([[0.0], [1.0]]), return_attention=True)
    share = 1 / (1 + math.exp(-2 * math.tanh(1)))
    torch.testing.assert_close(weights, torch.tensor([1 - share, share]))
    torch.testing.assert_close(y, torch.tensor([share]))


def test_a_gate_that_is_half_open_halves_the_scores():
    plain, gated = made(lambda: nn.ABMILPool(8, 4)), made(lambda: nn.GatedABMILPool(8, 4))
    gated.load_state_dict({**gated.state_dict(), **plain.state_dict()})
    with torch.no_grad():
        gated.U.weight.zero_()
        gated.U.bias.zero_()
        plain.w.weight.mul_(0.5)
    torch.testing.assert_close(gated(draw(2, 5, 8)), plain(draw(2, 5, 8)))


def test_hops_that_look_at_one_element_each_have_no_penalty():
    module = nn.SelfAttentivePool(2, 2, 2)
    with torch.no_grad():
        module.W1.weight.copy_(torch.eye(2))
        module.W2.weight.copy_(1000 * torch.eye(2))
    x = torch.eye(2)[None]
    y, weights, penalty = module(x, return_attention=True, return_penalty=True)
    torch.testing.assert_close(weights, x)
    torch.testing.assert_close(y, x)
    assert penalty.item() == 0
    with torch.no_grad():  # both hops look at the first element: A A^T is all ones
        module.W2.weight.copy_(torch.tensor([[1000.0, 0.0], [1000.0, 0.0]]))
    assert module(x, return_penalty=True)[1].item() == 2
    assert module(x, torch.tensor([[False, False]]), return_penalty=True)[1].item() == 2


@pytest.mark.parametrize("length", [1e-30, 1e-3, 0.5, 1.0, 7.0, 1e4, 1e30])
def test_squash_gives_the_length_of_the_paper(length):
    v = squash(torch.tensor([0.6 * length, -0.8 * length]))
    want = 1.0 if length > 1e10 else length**2 / (1 + length**2)
    torch.testing.assert_close(v, torch.tensor([0.6 * want, -0.8 * want]), rtol=1e-5, atol=0)


def test_squash_at_zero_is_zero_with_a_gradient_of_zero():
    s = torch.zeros(3, 4, dtype=F64, requires_grad=True)
    v = squash(s)
    v.sum().backward()
    assert (v == 0).all()
    assert (s.grad == 0).all()
    assert torch.autograd.gradcheck(squash, draw(5, 3).requires_grad_())
    assert torch.autograd.gradcheck(squash, draw(5, 1).requires_grad_())


def test_routing_once_weights_all_votes_alike():
    module, x = made(lambda: nn.CapsuleRouting(5, 4, 3, 2, num_iterations=1)), draw(2, 5, 4)
    votes = torch.einsum("jiod,nid->nijo", module.weight, x)
    torch.testing.assert_close(module(x), squash(votes.sum(1) / 3))


def test_routing_prefers_what_votes_agree_on():
    # Three capsules send the same vote to the first output, and votes that cancel to the second.
    module = nn.CapsuleRouting(3, 1, 2, 2, num_iterations=3)
    with torch.no_grad():
        module.weight[0] = torch.tensor([1.0, 0.0])[None, :, None]
        angles = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3])
        module.weight[1] = torch.stack([angles.cos(), angles.sin()], -1)[..., None]
    x = torch.ones(1, 3, 1)
    once = nn.CapsuleRouting(3, 1, 2, 2, num_iterations=1)
    once.load_state_dict(module.state_dict())
    before, after = once(x).norm(dim=-1)[0], module(x).norm(dim=-1)[0]
    assert after[0] > before[0] + 0.05
    assert after[1] < 1e-6


def test_detached_routing_changes_gradients_only():
    through, last = (made(lambda d=d: nn.CapsuleRouting(5, 4, 3, 2, detach_routing=d)) for d in (False, True))
    x = draw(2, 5, 4).requires_grad_()
    torch.testing.assert_close(through(x), last(x), rtol=0, atol=0)
    first, second = (torch.autograd.grad(module(x).square().sum(), x)[0] for module in (through, last))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("make", "blamed"),
    [
        (lambda: nn.AttentionPool2d(0), "embed_dim"),
        (lambda: nn.AttentionPool2d(8, 3), "num_heads"),
        (lambda: nn.AttentionPool2d(8, 2, 0), "feat_size"),
        (lambda: nn.AttentionPool2d(8, 2, (1, 2, 3)), "feat_size"),
        (lambda: nn.AttentionPool2d(8, 2, 3, 0), "output_dim"),
        (lambda: nn.AttentionPool2d(8, 2, interpolation="nearest"), "interpolation"),
        (lambda: nn.AttentionPoolLatent(8.0), "in_features"),
        (lambda: nn.AttentionPoolLatent(8, out_features=0), "out_features"),
        (lambda: nn.AttentionPoolLatent(8, embed_dim=7), "num_heads"),
        (lambda: nn.AttentionPoolLatent(8, mlp_ratio=0), "mlp_ratio"),
        (lambda: nn.AttentionPoolLatent(8, qkv_bias="yes"), "qkv_bias"),
        (lambda: nn.AttentionPoolLatent(8, latent_len=0), "latent_len"),
        (lambda: nn.AttentionPoolLatent(8, pool_type="max"), "pool_type"),
        (lambda: nn.AttentionPoolLatent(8, eps=0), "eps"),
        (lambda: nn.SimPool(-1), "embed_dim"),
        (lambda: nn.SimPool(6, 4), "num_heads"),
        (lambda: nn.SimPool(6, gamma=0), "gamma"),
        (lambda: nn.ABMILPool(0), "in_features"),
        (lambda: nn.ABMILPool(8, 0), "hidden_features"),
        (lambda: nn.GatedABMILPool(8, bias=None), "bias"),
        (lambda: nn.SelfAttentivePool(8, 4, 0), "num_hops"),
        (lambda: nn.PMA(8, 3, 1), "num_heads"),
        (lambda: nn.PMA(8, 2, 0), "num_seeds"),
        (lambda: nn.PMA(8, 2, 1, layer_norm=2), "layer_norm"),
        (lambda: nn.PMA(8, 2, 1, scale=-1), "scale"),
        (lambda: nn.CapsuleRouting(0, 1, 1, 1), "in_capsules"),
        (lambda: nn.CapsuleRouting(1, 0, 1, 1), "in_features"),
        (lambda: nn.CapsuleRouting(1, 1, 0, 1), "out_capsules"),
        (lambda: nn.CapsuleRouting(1, 1, 1, 0), "out_features"),
        (lambda: nn.CapsuleRouting(1, 1, 1, 1, 0), "num_iterations"),
        (lambda: nn.CapsuleRouting(1, 1, 1, 1, detach_routing="no"), "detach_routing"),
    ],
)
def test_a_bad_argument_is_named(make, blamed):
    with pytest.raises(PoolError, match=blamed) as caught:
        make()
    assert caught.value.gave.startswith(blamed)


@pytest.mark.parametrize(
    ("make", "inputs", "blamed"),
    [
        (lambda: nn.AttentionPool2d(8), (torch.zeros(1, 7, 3, 3),), "embed_dim"),
        (lambda: nn.AttentionPool2d(8), (torch.zeros(8, 3),), "input"),
        (lambda: nn.AttentionPool2d(8), (torch.zeros(1, 8, 3, 0),), "empty"),
        (lambda: nn.AttentionPool2d(8), (torch.zeros(1, 8, 3, 3, dtype=torch.int32),), "dtype"),
        (lambda: nn.AttentionPool2d(8), ([1.0],), "input"),
        (lambda: nn.SimPool(8), (torch.zeros(1, 7, 3, 3),), "embed_dim"),
        (lambda: nn.SimPool(8), (torch.zeros(1, 8, 3, 3), torch.ones(1, 9).bool()), "mask"),
        (lambda: nn.CapsuleRouting(3, 2, 1, 1), (torch.zeros(1, 4, 2),), "in_capsules"),
        (lambda: nn.CapsuleRouting(3, 2, 1, 1), (torch.zeros(1, 3, 3),), "in_features"),
        (lambda: nn.CapsuleRouting(3, 2, 1, 1), (torch.zeros(1, 3, 2), torch.ones(3).bool()), "mask"),
    ],
)
def test_a_bad_input_is_named(make, inputs, blamed):
    with pytest.raises(PoolError, match=blamed):
        make()(*inputs)


@pytest.mark.parametrize("name", MASKED)
def test_bad_sequences_and_masks(name):
    module = MASKED[name]()
    x = torch.zeros(2, 5, 8)
    with pytest.raises(PoolError, match="axis -1"):
        module(x[..., :7])
    with pytest.raises(PoolError, match="input"):
        module(torch.zeros(8))
    with pytest.raises(PoolError, match="empty"):
        module(x[:, :0])
    with pytest.raises(PoolTypeError, match="input of dtype"):
        module(x.long())
    with pytest.raises(PoolTypeError, match="mask of dtype"):
        module(x, torch.ones(2, 5))
    with pytest.raises(PoolTypeError, match="mask="):
        module(x, [[True] * 5] * 2)
    with pytest.raises(PoolError, match="mask of shape"):
        module(x, torch.ones(2, 6).bool())
    with pytest.raises(PoolError, match="mask of shape"):
        module(x[0], torch.ones(1, 5).bool())
