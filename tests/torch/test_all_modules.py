"""What torch does with its own modules and functions it does with every one of poolkit's.

The modules come from `examples.EXAMPLES`, which finds new ones by itself. Of those that differ in their rank alone,
tests that take long try one.
"""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import re
from typing import Any

import pytest
import torch
from examples import EXAMPLES, Example, outputs, seeded
from support import in_process
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

import poolkit as pk
from poolkit import nn

# Of torch.export, torch.jit and Dynamo themselves.
pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)


def family(name: str) -> str:
    return re.sub(r"[123]d$", "", name)


def _one_a_family() -> list[Example]:
    found: dict[str, Example] = {}
    for example in EXAMPLES:
        if family(example.name) not in found or example.name.endswith("2d"):
            found[family(example.name)] = example
    return list(found.values())


FAMILIES = _one_a_family()
every_module = pytest.mark.parametrize("example", EXAMPLES, ids=str)
every_family = pytest.mark.parametrize("example", FAMILIES, ids=str)


def equal(mine: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> None:
    assert len(mine) == len(theirs) > 0
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def call_of(example: Example) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], dict[str, Any]]:
    """Module, inputs and keywords; not its seed, which makes a generator that graphs cannot hold."""
    more = {name: value for name, value in example.more().items() if name != "generator"}
    return example.module(), example.given(), more


def floats_of(example: Example) -> tuple[Any, list[torch.Tensor]]:
    """The module as a function of its floating inputs alone, under one seed, and these inputs."""
    module, inputs, more = call_of(example)
    places = [i for i, t in enumerate(inputs) if t.is_floating_point()]

    def call(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = list(inputs)
        for place, value in zip(places, values, strict=True):
            given[place] = value
        return tuple(t for t in seeded(module, *given, **more) if t.is_floating_point())

    return call, [inputs[place] for place in places]


def test_every_module_is_here() -> None:
    assert [example.name for example in EXAMPLES] == list(nn.__all__)
    assert {type(example.module()).__name__ for example in EXAMPLES} == set(nn.__all__)


@every_module
def test_copies_and_files(example: Example) -> None:
    module, inputs, more = call_of(example)
    want = seeded(module, *inputs, **more)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    twins = (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False))
    for twin in twins:
        assert repr(twin) == repr(module)
        equal(seeded(twin, *inputs, **more), want)


@every_module
def test_meta_tensors(example: Example) -> None:
    module, inputs, more = call_of(example)
    want = seeded(module, *inputs, **more)
    elsewhere = {key: value.to("meta") if isinstance(value, torch.Tensor) else value for key, value in more.items()}
    got = outputs(module.to("meta")(*(t.to("meta") for t in inputs), **elsewhere))
    assert all(t.is_meta for t in got)
    assert [(t.shape, t.dtype) for t in got] == [(t.shape, t.dtype) for t in want]


class Calling(torch.nn.Module):
    """A module with its keywords, which torch.jit.trace cannot hand over."""

    def __init__(self, module: torch.nn.Module, more: dict[str, Any]) -> None:
        super().__init__()
        self.module, self.more = module, more

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return outputs(self.module(*inputs, **self.more))


@every_module
def test_jit_trace(example: Example) -> None:
    module, inputs, more = call_of(example)
    calling = Calling(module, more)
    torch.manual_seed(1)
    equal(seeded(torch.jit.trace(calling, inputs, check_trace=False), *inputs), seeded(calling, *inputs))


@every_module
def test_activation_checkpointing(example: Example) -> None:
    """What is computed again, draws included, has the same gradient."""
    call, leaves = floats_of(example)
    leaf = leaves[0].clone().requires_grad_()

    def gradient(function: Any) -> torch.Tensor:
        (found,) = torch.autograd.grad(sum(t.sum() for t in function()), leaf)
        return found

    again = gradient(lambda: checkpoint(call, leaf, *leaves[1:], use_reentrant=False))
    assert torch.equal(again, gradient(lambda: call(leaf, *leaves[1:])))


class Several(torch.nn.Module):
    """Modules that are exported together, which takes a fraction of the time."""

    def __init__(self, modules: list[torch.nn.Module]) -> None:
        super().__init__()
        self.list = torch.nn.ModuleList(modules)

    def forward(self, inputs: list[tuple[torch.Tensor, ...]], more: list[dict[str, Any]]) -> list[Any]:
        return [module(*given, **rest) for module, given, rest in zip(self.list, inputs, more, strict=True)]


TOGETHER = 12


@pytest.mark.parametrize("first", range(0, len(EXAMPLES), TOGETHER), ids=lambda first: EXAMPLES[first].name)
def test_export(first: int) -> None:
    calls = [call_of(example) for example in EXAMPLES[first : first + TOGETHER]]
    several = Several([module for module, _, _ in calls])
    given = ([inputs for _, inputs, _ in calls], [more for _, _, more in calls])
    program = torch.export.export(several, given)
    torch.manual_seed(1)
    want = several(*given)
    torch.manual_seed(1)
    for mine, theirs in zip(program.module()(*given), want, strict=True):
        equal(outputs(mine), outputs(theirs))


def test_export_with_any_batch() -> None:
    tried = 0
    for example in FAMILIES:
        module, inputs, more = call_of(example)
        rows = inputs[0].shape[0]
        if more or len(inputs) > 1 or rows < 2 or inputs[0].dim() < 3:
            continue
        program = torch.export.export(module, inputs, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        twice = torch.cat([inputs[0], inputs[0].flip(0)])
        equal(seeded(program.module(), twice), seeded(module, twice))
        tried += 1
    assert tried >= len(FAMILIES) // 2


def mark(inputs: tuple[torch.Tensor, ...]) -> None:
    for t in inputs:
        for axis in range(t.dim()):
            if t.shape[axis] > 1:
                torch._dynamo.maybe_mark_dynamic(t, axis)


@every_family
def test_one_graph(example: Example) -> None:
    """Batch, channels and sizes may be dynamic; what a plan holds is specialised, and nothing breaks the graph."""
    torch.compiler.reset()
    module, inputs, more = call_of(example)
    mark(inputs)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    equal(seeded(compiled, *inputs, **more), seeded(module, *inputs, **more))


class Flat(torch.nn.Module):
    """Modules that pool one map each, and what they give as one vector a sample."""

    def __init__(self) -> None:
        super().__init__()
        kinds = (nn.MaxPool2d(3, 2, 1), nn.SoftPool2d(2), nn.MixedPool2d(2), nn.MedianPool2d(3), nn.GeMPool2d())
        self.pools = torch.nn.ModuleList(kinds)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([pool(x).flatten(1) for pool in self.pools], 1)


def test_inductor_and_ahead_of_time() -> None:
    """Compiled by Inductor, with gradients; and into a package that is loaded again, for any batch."""
    torch.compiler.reset()
    model, x = Flat(), torch.rand(2, 3, 9, 8)
    leaf = x.clone().requires_grad_()
    y = torch.compile(model, fullgraph=True)(leaf)
    torch.testing.assert_close(y, model(x))
    same = x.clone().requires_grad_()
    torch.testing.assert_close(
        torch.autograd.grad(y.square().sum(), leaf), torch.autograd.grad(model(same).square().sum(), same)
    )
    with torch.no_grad():
        batch = torch.export.Dim("batch", min=2, max=64)
        program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
        package = torch._inductor.aoti_load_package(torch._inductor.aoti_compile_and_package(program))
        more = torch.rand(5, 3, 9, 8)
        torch.testing.assert_close(package(more), model(more))


def test_one_graph_for_every_batch() -> None:
    """A batch of another size needs no new graph."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph

    for module in (nn.MaxPool2d(3, 2, 1), nn.SoftPool2d(2), nn.MixedPool2d(2), nn.GeMPool2d(), nn.MedianPool2d(3)):
        torch.compiler.reset()
        graphs.clear()
        compiled = torch.compile(module, fullgraph=True, backend=backend)
        for rows in (2, 5, 7):
            x = torch.randn(rows, 3, 9, 8)
            torch._dynamo.mark_dynamic(x, 0)
            equal(outputs(compiled(x)), outputs(module(x)))
        assert len(graphs) == 1


@every_family
def test_torch_func(example: Example) -> None:
    """grad is autograd's, and vmap of grad a loop."""
    call, leaves = floats_of(example)

    def total(t: torch.Tensor) -> torch.Tensor:
        return sum(part.square().sum() for part in call(t, *leaves[1:]))

    leaf = leaves[0].clone().requires_grad_()
    batch = torch.stack([leaves[0], leaves[0] / 2])
    with sdpa_kernel(SDPBackend.MATH):  # the only attention of torch that has a rule for vmap
        (want,) = torch.autograd.grad(total(leaf), leaf)
        torch.testing.assert_close(torch.func.grad(total)(leaves[0]), want)
        got = torch.func.vmap(torch.func.grad(total), randomness="same")(batch)
        if not draws(example):
            torch.testing.assert_close(got[0], want)
            torch.testing.assert_close(got[1], torch.func.grad(total)(batch[1]))


def draws(example: Example) -> bool:
    """Draws under vmap are others than outside of it."""
    return example.name.startswith("Fractional") or (example.training and "generator" in example.keywords)


@every_family
def test_forward_mode(example: Example) -> None:
    """``<jvp(v), u> == <v, vjp(u)>``, under torch.func and with dual tensors."""
    call, leaves = floats_of(example)
    v = torch.randn(leaves[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    leaf = leaves[0].clone().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # the only attention of torch that has a forward mode
        results, tangents = torch.func.jvp(lambda t: call(t, *leaves[1:]), (leaves[0],), (v,))
        backward = call(leaf, *leaves[1:])
        with forward_ad.dual_level():
            duals = [forward_ad.unpack_dual(t).tangent for t in call(forward_ad.make_dual(leaves[0], v), *leaves[1:])]
    for y, tangent, dual, other in zip(backward, tangents, duals, results, strict=True):
        torch.testing.assert_close(y.detach(), other)
        u = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(3))
        (pulled,) = torch.autograd.grad(y, leaf, u, retain_graph=True, allow_unused=True)
        torch.testing.assert_close((tangent * u).sum(), (torch.zeros_like(v) if pulled is None else pulled * v).sum())
        torch.testing.assert_close(torch.zeros_like(tangent) if dual is None else dual, tangent)


@pytest.mark.parametrize("example", [example for example in FAMILIES if example.smooth], ids=str)
def test_first_and_second_derivatives(example: Example) -> None:
    call, leaves = floats_of(example)
    inputs = [leaf.clone().requires_grad_() for leaf in leaves]
    with sdpa_kernel(SDPBackend.MATH):  # the only attention of torch that has second derivatives
        assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True, atol=1e-4)


def test_hessians() -> None:
    """Forward over backward, backward over backward, and the same by autograd."""
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for reducer in (pk.Max(), pk.Mean(), pk.Soft(), pk.Lp(3), pk.LogSumExp(), pk.Var(), pk.GeM(eps=0.01), pk.Median()):

        def loss(t: torch.Tensor, reducer: pk.Reducer = reducer) -> torch.Tensor:
            return pk.pool(t, pk.Sliding(3, 1), reducer).square().sum()

        want = torch.autograd.functional.hessian(loss, x)
        one, other = torch.func.jacfwd, torch.func.jacrev
        for outer, inner in ((one, one), (one, other), (other, one), (other, torch.func.grad)):
            torch.testing.assert_close(outer(inner(loss))(x), want)


def test_hessians_of_what_is_learned() -> None:
    x = torch.rand(1, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    for reducer, shape in ((pk.Mixed(), (2, 1, 1)), (pk.GeM(), (2, 1, 1)), (pk.Filter((1.0,) * 9), (2, 9))):
        extra = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5

        def loss(t: torch.Tensor, e: torch.Tensor, reducer: pk.Reducer = reducer) -> torch.Tensor:
            return pk.torch.functional.pool(t, pk.Sliding(3, 1), reducer, extra=e).square().sum()

        want = torch.autograd.functional.hessian(loss, (x, extra))
        places = (0, 1)
        forward = torch.func.jacfwd(torch.func.jacrev(loss, places), places)(x, extra)
        backward = torch.func.jacrev(torch.func.grad(loss, places), places)(x, extra)
        for row, one, two in zip(want, forward, backward, strict=True):
            for cell, mine, other in zip(row, one, two, strict=True):
                torch.testing.assert_close(mine, cell)
                torch.testing.assert_close(other, cell)


def test_forward_mode_over_a_graph_made_before_is_an_error() -> None:
    x = torch.rand(1, 1, 4, 4, requires_grad=True)
    y = pk.pool(x, pk.Sliding(2), pk.Soft())
    with forward_ad.dual_level():
        dy = forward_ad.make_dual(torch.ones_like(y), torch.ones_like(y))
        with pytest.raises(NotImplementedError, match="jvp"):
            torch.autograd.grad(y, x, dy)


def test_deterministic_algorithms() -> None:
    """Nothing is refused, and no bit changes."""
    torch.use_deterministic_algorithms(True)
    try:
        for example in EXAMPLES:
            call, leaves = floats_of(example)
            leaf = leaves[0].clone().requires_grad_()
            one, two = (torch.autograd.grad(sum(t.sum() for t in call(leaf, *leaves[1:])), leaf) for _ in range(2))
            assert torch.equal(one[0], two[0])
    finally:
        torch.use_deterministic_algorithms(False)


class Pooled(torch.utils.data.Dataset[tuple[torch.Tensor, ...]]):
    """Every module's outputs, worked out where they are asked for."""

    def __len__(self) -> int:
        return len(EXAMPLES)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        module, inputs, more = call_of(EXAMPLES[i])
        return tuple(t.detach() for t in seeded(module, *inputs, **more))


def test_forked_data_loader_workers_pool_after_the_parent_did() -> None:
    pooled = Pooled()
    want = [pooled[i] for i in range(len(pooled))]
    loader = torch.utils.data.DataLoader(
        pooled, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    for mine, theirs in zip(loader, want, strict=True):
        equal(tuple(mine), theirs)


@pytest.mark.parametrize("imports", ["import torch, poolkit as pk", "import poolkit as pk, torch"])
def test_pool_in_one_graph_needs_no_other_import(imports: str) -> None:
    code = f"""
{imports}, sys, warnings
warnings.simplefilter("ignore")
x = torch.rand(1, 2, 6, 6)
assert "poolkit.torch" not in sys.modules
both = lambda t: pk.max_pool2d(pk.pool(t, pk.Sliding(2, 1), pk.Soft()), 2)
assert torch.equal(torch.compile(both, fullgraph=True, backend="eager")(x), both(x))
"""
    in_process(code, seconds=120, gigabytes=16)


ARGUMENTS = {"kernel_size": 2, "output_size": 2, "norm_type": 3.0, "q": 0.3, "k": 2, "weights": (0.1, 0.2, 0.3, 0.4)}
FUNCTIONS = sorted(name for name in pk.__all__ if name.endswith("pool2d") and "unpool" not in name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    """Every named function in one graph, under vmap, traced, and its gradient."""
    torch.compiler.reset()
    function = getattr(pk, name)
    parameters = inspect.signature(function).parameters
    needed = [key for key, value in parameters.items() if value.default is inspect.Parameter.empty][1:]
    options: dict[str, Any] = {key: ARGUMENTS[key] for key in needed}
    if name.startswith("fractional"):
        options["output_ratio"] = 0.6

    def call(t: torch.Tensor) -> torch.Tensor:
        return function(t, **options)

    x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    mark((x,))
    want = seeded(call, x)
    equal(seeded(torch.compile(call, fullgraph=True, backend="eager"), x), want)
    torch.manual_seed(1)
    equal(seeded(torch.jit.trace(call, x, check_trace=False), x), want)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(seeded(call, leaf)[0].sum(), leaf)
    torch.testing.assert_close(torch.func.grad(lambda t: seeded(call, t)[0].sum())(x), gradient)
    mapped = torch.func.vmap(call, randomness="different")(x.unsqueeze(1))
    assert mapped.shape == (2, 1, *want[0].shape[1:])
