"""The pooling as three primitives of JAX, so that every transformation finds a rule.

``pool`` is the pooling; ``push`` its derivative, linear in the tangents; ``pull`` the transpose of that, the gradient.
On the CPU `pool` and `pull` run the compiled core, elsewhere all three are JAX's own operations. Reverse mode needs
`pool` and `pull` alone: `push` is only there to be transposed, and computes something in forward mode.

Sum and Mean are their own derivative. Reducers that choose a cell remember which: their derivative is a look-up.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec

from poolkit.jax import ffi, pure
from poolkit.jax.calls import GIVEN, WANTED, Call, bits, names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = jax.Array

# What moves, by its bit: tangents of push, gradients of pull.
MOVED = ("x", "extra")

_ad: Any = ad  # JAX leaves its own interpreters without annotations
_batching: Any = batching
_mlir: Any = mlir


def pool(call: Call, x: Array, given: dict[str, Array], wanted: Sequence[str] = ()) -> dict[str, Array]:
    """y, and what is wanted of indices, offsets and lse; `given` has starts and extra where the call takes them."""
    operands = _matched([x, *_in_order(given)])
    outputs = pool_p.bind(*operands, call=call, given=bits(list(given), GIVEN), wanted=bits(wanted, WANTED))
    return dict(zip(("y", *names(bits(wanted, WANTED), WANTED)), outputs, strict=True))


def _in_order(given: dict[str, Array]) -> list[Array]:
    return [given[name] for name in GIVEN if name in given]


def _matched(operands: list[Array]) -> list[Array]:
    """Under shard_map: arrays that are the same everywhere, marked to vary as the others do."""
    nowhere: frozenset[Any] = frozenset()
    axes: list[frozenset[Any]] = [
        getattr(getattr(jax.typeof(one), "manual_axis_type", None), "varying", nowhere) for one in operands
    ]
    every = nowhere.union(*axes)
    if not every:
        return operands
    return [
        jax.lax.pcast(one, tuple(every - mine), to="varying") if every - mine else one
        for one, mine in zip(operands, axes, strict=True)
    ]


def _pool(x: Array, *rest: Array, call: Call, given: int, wanted: int, compiled: bool) -> list[Array]:
    work = ffi.forward if compiled else pure.forward
    return work(call, x, dict(zip(names(given, GIVEN), rest, strict=True)), names(wanted, WANTED))


def _push(*operands: Array, call: Call, given: int, moved: int) -> list[Array]:
    tangents, arrays = _split(operands, given, moved)
    x = tangents.get("x", arrays.get("x"))
    assert x is not None
    return [pure.derivative(call, tangents, arrays, call.out_shape(x.shape))]


def _pull(dy: Array, *rest: Array, call: Call, given: int, moved: int, compiled: bool) -> list[Array]:
    work = ffi.gradient if compiled else pure.gradient
    return work(call, dy, dict(zip(names(given, GIVEN), rest, strict=True)), names(moved, MOVED))


def _split(operands: Sequence[Any], given: int, moved: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tangents, and the arrays behind them."""
    moving = names(moved, MOVED)
    tangents = dict(zip(moving, operands[: len(moving)], strict=True))
    return tangents, dict(zip(names(given, GIVEN), operands[len(moving) :], strict=True))


def _primitive(name: str, work: Callable[..., list[Array]], compiled: Callable[..., list[Array]] | None) -> Primitive:
    primitive: Any = Primitive(f"poolkit_{name}")
    primitive.multiple_results = True
    primitive.def_impl(functools.partial(_run, primitive))
    _mlir.register_lowering(primitive, _mlir.lower_fun(work, multiple_results=True))
    if compiled is not None and ffi.built:
        _mlir.register_lowering(primitive, _mlir.lower_fun(compiled, multiple_results=True), platform="cpu")
    return primitive


def _run(primitive: Any, *operands: Array, **settings: Any) -> Any:
    return _compiled(primitive, tuple(sorted(settings.items())))(*operands)


@functools.lru_cache(maxsize=4096)
def _compiled(primitive: Any, settings: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    def run(*operands: Array) -> Any:
        return primitive.bind(*operands, **dict(settings))

    return jax.jit(run)


def _like(aval: Any, shape: Sequence[int], dtype: Any, call: Call | None = None) -> Any:
    """An abstract array on the devices of another one; of the call's arrays all axes but the pooled ones are shared."""
    spec: list[Any] = [None] * len(shape)
    if call is not None:
        spec = list(aval.sharding.spec)
        spec[call.at()] = [None] * call.rank
    sharding = NamedSharding(aval.sharding.mesh, PartitionSpec(*spec))
    return aval.update(shape=tuple(shape), dtype=np.dtype(dtype), weak_type=False, sharding=sharding)


pool_p: Any = _primitive("pool", functools.partial(_pool, compiled=False), functools.partial(_pool, compiled=True))
push_p: Any = _primitive("push", _push, None)
pull_p: Any = _primitive("pull", functools.partial(_pull, compiled=False), functools.partial(_pull, compiled=True))


@pool_p.def_abstract_eval
def _pool_shapes(x: Any, *_: Any, call: Call, wanted: int, **_given: int) -> list[Any]:
    kinds = ffi.results(call, x.shape, np.dtype(x.dtype), names(wanted, WANTED))
    return [_like(x, kind.shape, kind.dtype, call) for kind in kinds]


@push_p.def_abstract_eval
def _push_shapes(*operands: Any, call: Call, given: int, moved: int) -> list[Any]:
    tangents, arrays = _split(operands, given, moved)
    x: Any = tangents.get("x", arrays.get("x"))
    return [_like(x, call.out_shape(x.shape), x.dtype, call)]


@pull_p.def_abstract_eval
def _pull_shapes(dy: Any, *rest: Any, call: Call, given: int, moved: int) -> list[Any]:
    arrays = dict(zip(names(given, GIVEN), rest, strict=True))
    shapes = {"x": _like(dy, call.in_shape(dy.shape), dy.dtype, call)}
    if "extra" in arrays:
        shapes["extra"] = _like(dy, arrays["extra"].shape, arrays["extra"].dtype)
    return [shapes[name] for name in names(moved, MOVED)]


def _zero(tangent: Any) -> bool:
    return type(tangent) is ad.Zero


def _pool_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], *, call: Call, given: int, wanted: int
) -> tuple[list[Any], list[Any]]:
    x, *rest = primals
    arrays = dict(zip(names(given, GIVEN), rest, strict=True))
    moving = dict(zip(("x", *arrays), tangents, strict=True))
    moving.pop("starts", None)
    if call.chooses:
        moving.pop("extra", None)  # a draw has no slope
    moving = {name: tangent for name, tangent in moving.items() if not _zero(tangent)}
    asked = names(wanted, WANTED)
    keeps = [name for name in WANTED if name in asked or name in call.reducer.keeps]
    found = pool(call, x, arrays, keeps if moving and not call.linear else asked)
    outputs = [found["y"], *(found[name] for name in asked)]
    zeros = [ad.Zero(jax.typeof(one).to_tangent_aval()) for one in outputs]
    if not moving:
        return outputs, zeros
    if call.linear:
        return outputs, [pool(call, moving["x"], arrays)["y"], *zeros[1:]]
    return outputs, [_bind_push(call, moving, _kept(call, x, arrays, found)), *zeros[1:]]


def _kept(call: Call, x: Array, arrays: dict[str, Array], found: dict[str, Array]) -> dict[str, Array]:
    """What derivative and gradient need of a forward pass; uniforms have done their work once there are offsets."""
    everything = {**arrays, "x": x, **found}
    wanted = {"starts", *call.reducer.keeps} if call.chooses else {"starts", "extra", "x", *call.reducer.keeps}
    return {name: everything[name] for name in GIVEN if name in wanted and name in everything}


def _bind_push(call: Call, tangents: dict[str, Array], kept: dict[str, Array]) -> Array:
    moving = {name: tangents[name] for name in MOVED if name in tangents}
    operands = _matched([*moving.values(), *_in_order(kept)])
    settings = {"call": call, "given": bits(list(kept), GIVEN), "moved": bits(list(moving), MOVED)}
    return push_p.bind(*operands, **settings)[0]


def _bind_pull(call: Call, dy: Array, kept: dict[str, Array], moved: Sequence[str]) -> list[Array]:
    settings = {"call": call, "given": bits(list(kept), GIVEN), "moved": bits(moved, MOVED)}
    return pull_p.bind(*_matched([dy, *_in_order(kept)]), **settings)


def _push_transpose(cotangents: Sequence[Any], *operands: Any, call: Call, given: int, moved: int) -> list[Any]:
    tangents, kept = _split(operands, given, moved)
    if _zero(cotangents[0]):
        return [ad.Zero(one.aval) for one in tangents.values()] + [None] * len(kept)
    return [*_bind_pull(call, cotangents[0], kept, list(tangents)), *[None] * len(kept)]


def _pull_transpose(cotangents: Sequence[Any], dy: Any, *rest: Any, call: Call, given: int, moved: int) -> list[Any]:
    kept = dict(zip(names(given, GIVEN), rest, strict=True))
    moving = {
        name: tangent for name, tangent in zip(names(moved, MOVED), cotangents, strict=True) if not _zero(tangent)
    }
    if not moving:
        return [ad.Zero(dy.aval), *[None] * len(rest)]
    if call.linear:
        starts = {name: kept[name] for name in ("starts",) if name in kept}
        return [pool(call, moving["x"], starts)["y"], *[None] * len(rest)]
    return [_bind_push(call, moving, kept), *[None] * len(rest)]


def _linear_transpose(cotangents: Sequence[Any], x: Any, *rest: Any, call: Call, given: int, wanted: int) -> list[Any]:
    """Of the pooling itself, where it is linear."""
    assert call.linear
    assert wanted == 0
    kept = dict(zip(names(given, GIVEN), rest, strict=True))
    if _zero(cotangents[0]):
        return [ad.Zero(x.aval), *[None] * len(rest)]
    return [*_bind_pull(call, cotangents[0], kept, ["x"]), *[None] * len(rest)]


def _second(
    work: Callable[..., list[Array]],
    linear: Callable[[dict[str, Any], dict[str, Any]], list[Array]],
    call: Call,
    first: dict[str, Any],
    kept: dict[str, Any],
    tangents: dict[str, Any],
) -> list[Any]:
    """Tangents of push or pull: linear in `first`; what else is behind them moves through x and extra alone."""
    total: list[Any] | None = None
    moving = {name: tangents[name] for name in first if not _zero(tangents[name])}
    if moving:
        full = {name: moving.get(name, jnp.zeros_like(value)) for name, value in first.items()}
        total = linear(full, kept)
    behind = {name: tangents[f"kept {name}"] for name in MOVED if name in kept}
    behind = {name: tangent for name, tangent in behind.items() if not _zero(tangent)}
    if behind and not call.chooses:
        point = {name: kept[name] for name in behind}
        rest = {name: value for name, value in kept.items() if name not in behind and name not in ("y", "lse")}

        def along(moved: dict[str, Array]) -> list[Array]:
            return work(first, {**rest, **moved})

        more = jax.jvp(along, (point,), (behind,))[1]
        total = more if total is None else [a + b for a, b in zip(total, more, strict=True)]
    return total or []


def _push_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], *, call: Call, given: int, moved: int
) -> tuple[list[Any], list[Any]]:
    first, kept = _split(primals, given, moved)
    slopes, behind = _split(tangents, given, moved)
    slopes |= {f"kept {name}": value for name, value in behind.items()}
    outputs = push_p.bind(*primals, call=call, given=given, moved=moved)

    def work(tangents: dict[str, Any], arrays: dict[str, Any]) -> list[Array]:
        return [pure.derivative(call, tangents, arrays, outputs[0].shape)]

    found = _second(work, lambda t, arrays: [_bind_push(call, t, arrays)], call, first, kept, slopes)
    return outputs, found or [ad.Zero(jax.typeof(outputs[0]).to_tangent_aval())]


def _pull_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], *, call: Call, given: int, moved: int
) -> tuple[list[Any], list[Any]]:
    dy, *rest = primals
    kept = dict(zip(names(given, GIVEN), rest, strict=True))
    slopes = {"dy": tangents[0]} | {f"kept {name}": t for name, t in zip(kept, tangents[1:], strict=True)}
    outputs = pull_p.bind(*primals, call=call, given=given, moved=moved)
    asked = names(moved, MOVED)

    def work(first: dict[str, Any], arrays: dict[str, Any]) -> list[Array]:
        return pure.gradient(call, first["dy"], arrays, asked)

    found = _second(work, lambda f, a: _bind_pull(call, f["dy"], a, asked), call, {"dy": dy}, kept, slopes)
    return outputs, found or [ad.Zero(jax.typeof(one).to_tangent_aval()) for one in outputs]


def _batched(
    primitive: Any, operands: Sequence[Any], dims: Sequence[Any], **settings: Any
) -> tuple[list[Any], list[int]]:
    """jax.vmap: every array gets one more leading axis; places and weights for all need none."""
    call: Call = settings["call"]
    size = next(one.shape[axis] for one, axis in zip(operands, dims, strict=True) if axis is not None)
    first = names(settings["moved"], MOVED) if primitive is push_p else ["array"]
    kinds = [*first, *names(settings["given"], GIVEN)]
    moved: list[Any] = []
    for one, axis, kind in zip(operands, dims, kinds, strict=True):
        if axis is not None:
            moved.append(jnp.moveaxis(one, axis, 0))
        elif kind == "starts" and one.ndim == 2 and len(one) == 1:
            moved.append(one)
        elif kind == "extra" and call.kernel_extra and one.ndim == 2 and primitive is pool_p:
            moved.append(one)  # push and pull have one gradient for each element of the mapped axis
        else:
            moved.append(jnp.broadcast_to(one, (size, *one.shape)))
    outputs = primitive.bind(*moved, **settings)
    return outputs, [0] * len(outputs)


_ad.primitive_jvps[pool_p] = _pool_jvp
_ad.primitive_jvps[push_p] = _push_jvp
_ad.primitive_jvps[pull_p] = _pull_jvp
_ad.primitive_transposes[pool_p] = _linear_transpose
_ad.primitive_transposes[push_p] = _push_transpose
_ad.primitive_transposes[pull_p] = _pull_transpose
for _p in (pool_p, push_p, pull_p):
    _batching.primitive_batchers[_p] = functools.partial(_batched, _p)
