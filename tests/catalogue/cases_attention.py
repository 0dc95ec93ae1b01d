"""Cases of poolings by attention, of bags, sets and capsules."""

from __future__ import annotations

import numpy as np
from cases import Case

from poolkit import nn
from poolkit.reference import attention as oracle

_rng = np.random.default_rng(11)


def draw(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape)


def mask(*rows: str) -> np.ndarray:
    """Rows of 1 and 0."""
    return np.array([[figure == "1" for figure in row] for row in rows])


def linear(state: dict, name: str) -> tuple:
    return state[f"{name}.weight"], state.get(f"{name}.bias")


def _clip(heads: int, grid: tuple[int, int] = (3, 3), mode: str = "bicubic"):
    def run(state, x):
        layers = [linear(state, f"{name}_proj") for name in "qkvc"]
        return oracle.attention_pool2d(x, state["positional_embedding"], grid, *layers, heads, mode)

    return run


def _latent(heads: int, pool_type: str = "token"):
    def run(state, x, real=None):
        weight, bias = linear(state, "kv")
        key_weight, value_weight = np.split(weight, 2)
        key_bias, value_bias = (None, None) if bias is None else np.split(bias, 2)
        return oracle.attention_pool_latent(
            x,
            real,
            state["latent"][0],
            linear(state, "q"),
            (key_weight, key_bias),
            (value_weight, value_bias),
            linear(state, "proj"),
            linear(state, "norm"),
            (linear(state, "mlp.0"), linear(state, "mlp.2")),
            heads,
            pool_type,
        )

    return run


def _simpool(heads: int = 1, gamma: float | None = None):
    def run(state, x, real=None, return_attention=False):
        shape = x.shape
        if x.ndim == 4:
            x = x.reshape(*shape[:2], -1).transpose(0, 2, 1)
            real = None if real is None else real.reshape(len(x), -1)
        layers = linear(state, "wq"), linear(state, "wk"), linear(state, "norm")
        y, weights = oracle.simpool(x, real, *layers, heads, gamma)
        if len(shape) == 4:
            weights = weights.reshape(len(x), heads, *shape[2:])
        return (y, weights) if return_attention else y

    return run


def _abmil(state, x, real=None, return_attention=False):
    gate = linear(state, "U") if "U.weight" in state else None
    y, weights = oracle.abmil(x, real, linear(state, "V"), linear(state, "w"), gate)
    return (y, weights) if return_attention else y


def _self_attentive(state, x, real=None, return_attention=False, return_penalty=False):
    y, weights, penalty = oracle.self_attentive(x, real, state["W1.weight"], state["W2.weight"])
    return (y, weights if return_attention else None, penalty if return_penalty else None)


def _pma(heads: int, scale: float):
    def run(state, x, real=None):
        layers = [linear(state, name) for name in ("rff", "q_proj", "k_proj", "v_proj", "out_proj", "rff_out")]
        names = ("norm_attention", "norm_out")
        norms = tuple(linear(state, name) for name in names) if "norm_out.weight" in state else None
        return oracle.pma(x, real, state["seeds"][0], *layers, heads, scale, norms)

    return run


def _capsules(iterations: int = 3):
    return lambda state, x, real=None: oracle.capsule_routing(x, real, state["weight"], iterations)


RAGGED = mask("11100", "01111", "10101")

CASES = [
    Case("attention_pool", lambda: nn.AttentionPool2d(8, 2, 3), (draw(2, 8, 3, 3),), _clip(2)),
    Case(
        "attention_pool",
        lambda: nn.AttentionPool2d(6, 3, (3, 2), 5),
        (draw(2, 6, 4, 5),),
        _clip(3, (3, 2)),
        others=((draw(1, 6, 3, 2),), (draw(2, 6, 1, 7),), (draw(2, 6, 2, 2),)),
        label="resized",
    ),
    Case(
        "attention_pool",
        lambda: nn.AttentionPool2d(4, 1, 3, interpolation="bilinear"),
        (draw(2, 4, 5, 4),),
        _clip(1, mode="bilinear"),
        others=((draw(1, 4, 2, 1),),),
        label="bilinear",
    ),
    Case(
        "attention_pool_latent",
        lambda: nn.AttentionPoolLatent(8, num_heads=2),
        (draw(3, 5, 8),),
        _latent(2),
        others=((draw(1, 9, 8),), (draw(2, 1, 8),)),
    ),
    Case(
        "attention_pool_latent",
        lambda: nn.AttentionPoolLatent(6, 4, 8, 4, 1.5, False, 3, "avg"),
        (draw(3, 5, 6), RAGGED),
        _latent(4, "avg"),
        others=((draw(2, 4, 6), mask("0000", "1010")),),
        label="masked",
    ),
    Case(
        "attention_pool_latent",
        lambda: nn.AttentionPoolLatent(4, num_heads=1, latent_len=2, pool_type="none"),
        (draw(2, 3, 4), mask("110", "000")),
        _latent(1, "none"),
        label="all-latents",
    ),
    Case(
        "sim_pool",
        lambda: nn.SimPool(6),
        (draw(2, 6, 3, 4),),
        _simpool(),
        others=((draw(1, 6, 2, 2),), (draw(2, 5, 6),)),
        keywords={"return_attention": True},
    ),
    Case("sim_pool", lambda: nn.SimPool(6, 2, 1.25), (draw(3, 5, 6), RAGGED), _simpool(2, 1.25), label="gamma"),
    Case(
        "sim_pool",
        lambda: nn.SimPool(4, 1, 2.0, qkv_bias=True),
        (draw(2, 4, 2, 3), mask("110101", "000000").reshape(2, 2, 3)),
        _simpool(1, 2.0),
        keywords={"return_attention": True},
        label="masked-map",
    ),
    Case(
        "abmil_pool",
        lambda: nn.ABMILPool(6, 4),
        (draw(3, 5, 6), RAGGED),
        _abmil,
        others=((draw(2, 3, 6), mask("000", "011")), (draw(1, 1, 6),)),
        keywords={"return_attention": True},
    ),
    Case("abmil_pool", lambda: nn.ABMILPool(6, 4, bias=False), (draw(3, 5, 6),), _abmil, label="no-bias"),
    Case(
        "gated_abmil_pool",
        lambda: nn.GatedABMILPool(6, 4),
        (draw(3, 5, 6), RAGGED),
        _abmil,
        others=((draw(2, 3, 6), mask("000", "011")), (draw(1, 1, 6),)),
        keywords={"return_attention": True},
    ),
    Case("gated_abmil_pool", lambda: nn.GatedABMILPool(6, 4, False), (draw(3, 5, 6),), _abmil, label="no-bias"),
    Case(
        "self_attentive_pool",
        lambda: nn.SelfAttentivePool(6, 4, 3),
        (draw(3, 5, 6), RAGGED),
        _self_attentive,
        others=((draw(2, 3, 6), mask("000", "011")), (draw(1, 1, 6),)),
        keywords={"return_attention": True, "return_penalty": True},
    ),
    Case("pma", lambda: nn.PMA(8, 2, 3), (draw(3, 5, 8),), _pma(2, 8**-0.5), others=((draw(1, 9, 8),),)),
    Case(
        "pma",
        lambda: nn.PMA(8, 4, 1, layer_norm=True, scale=2**-0.5),
        (draw(3, 5, 8), RAGGED),
        _pma(4, 2**-0.5),
        others=((draw(2, 4, 8), mask("0000", "0010")),),
        label="masked",
    ),
    Case(
        "capsule_routing",
        lambda: nn.CapsuleRouting(5, 4, 3, 6),
        (draw(3, 5, 4), RAGGED),
        _capsules(),
        others=((draw(2, 5, 4), mask("00000", "01000")), (draw(1, 5, 4),)),
    ),
    Case("capsule_routing", lambda: nn.CapsuleRouting(2, 3, 2, 1, 1), (draw(2, 2, 3),), _capsules(1), label="once"),
]
