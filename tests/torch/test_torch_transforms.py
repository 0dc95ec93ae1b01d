"""torch.compile, torch.export, torch.fx, torch.jit.trace, vmap and torch.func over the modules."""

import pytest
import torch
from support import in_process

import poolkit as pk
from poolkit import nn
from poolkit.torch import ops
from poolkit.torch.functional import pool

MODULES = [
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d([2, 2], return_indices=True),
    nn.MinPool2d(2),
    nn.AvgPool2d(3, ceil_mode=True),
    nn.AdaptiveAvgPool2d(3),
    nn.AdaptiveMaxPool2d((None, 2)),
    nn.LPPool2d(2, 3),
    nn.SoftPool2d(2),
    nn.LogSumExpPool2d(2),
    nn.PowerMeanPool2d(2),
    nn.FractionalMaxPool2d(2, output_ratio=0.5),
    nn.FractionalAvgPool2d(None, style="tensorflow", pooling_ratio=1.4),
]
IDS = [f"{i}-{type(module).__name__}" for i, module in enumerate(MODULES)]

# What torch itself warns of on import of these parts.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning"
)


def first(outputs):
    return outputs[0] if isinstance(outputs, tuple) else outputs


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_compile_without_a_graph_break_for_several_shapes(module, backend):
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    for shape in ((2, 3, 9, 8), (5, 3, 9, 8), (2, 3, 12, 13)):
        x = torch.randn(shape)
        ours, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        torch.manual_seed(0)
        expected = first(module(other))
        torch.manual_seed(0)
        y = first(compiled(ours))
        assert torch.equal(y, expected)
        expected.sum().backward()
        y.sum().backward()
        assert torch.equal(ours.grad, other.grad)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile_of_functions_and_unpooling(backend):
    torch._dynamo.reset()
    window, x = pk.Sliding(3, 2), torch.randn(2, 3, 8, 8)
    outside = torch.compile(lambda t: pool(t, window, pk.Max()), fullgraph=True, backend=backend)
    inside = torch.compile(lambda t: pool(t, pk.Adaptive(3), pk.Soft()), fullgraph=True, backend=backend)
    assert torch.equal(outside(x), pool(x, window, pk.Max()))
    assert torch.equal(inside(x), pool(x, pk.Adaptive(3), pk.Soft()))
    down, up = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    both = torch.compile(lambda t: up(*down(t)), fullgraph=True, backend=backend)
    x.requires_grad_()
    y = both(x)
    assert torch.equal(y, up(*down(x)))
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(dx, torch.autograd.grad(up(*down(x)).sum(), x)[0])


def test_compiled_memory_format_follows_the_input():
    torch._dynamo.reset()
    module = torch.compile(nn.AvgPool2d(2), fullgraph=True, backend="aot_eager")
    y = module(torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_export_keeps_the_batch_dynamic():
    model = torch.nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1))
    program = torch.export.export(model, (torch.randn(2, 3, 9, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    x = torch.randn(7, 3, 9, 8)
    assert torch.equal(program.module()(x), model(x))
    assert "poolkit.pool.default" in str(program.graph)


def test_fx_and_jit_tracing():
    model, x = torch.nn.Sequential(nn.MaxPool2d(2), torch.nn.ReLU(), nn.SoftPool2d(2)), torch.randn(2, 3, 8, 8)
    assert torch.equal(torch.fx.symbolic_trace(model)(x), model(x))
    assert torch.equal(torch.jit.trace(model, x)(x), model(x))


@pytest.mark.parametrize("module", MODULES[:-2], ids=IDS[:-2])
@pytest.mark.parametrize("axis", [0, 2])
def test_vmap_is_a_loop(module, axis):
    x = torch.randn(4, 2, 3, 9, 8).movedim(0, axis)
    expected = torch.stack([first(module(t)) for t in x.unbind(axis)])
    assert torch.equal(first(torch.func.vmap(module, axis)(x)), expected)
    unbatched = x.select(1 if axis == 0 else 0, 0).movedim(axis if axis == 0 else axis - 1, 0)
    expected = torch.stack([first(module(t)) for t in unbatched])
    assert torch.equal(first(torch.func.vmap(module)(unbatched)), expected)


@pytest.mark.parametrize("module", MODULES[:-2], ids=IDS[:-2])
def test_torch_func_gradients(module):
    def loss(t):
        return (first(module(t)) ** 2).sum()

    x = torch.randn(3, 2, 9, 8).abs()
    other = x.clone().requires_grad_()
    loss(other).backward()
    torch.testing.assert_close(torch.func.grad(loss)(x), other.grad)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), other.grad)
    small = torch.randn(2, 9, 8, dtype=torch.float64).abs()
    jacobian = torch.func.jacrev(lambda t: first(module(t)))(small)
    assert jacobian.shape == (*first(module(small)).shape, *small.shape)


def test_vmap_over_fractional_samples_and_unpooling():
    x = torch.randn(4, 2, 3, 9, 8)
    plan = pk.Fractional(2, 3).plan((9, 8))
    text = ops.encode(pk.Max.code, pk.Max().params, plan.spec)
    starts = torch.randint(0, 7, (4, 6, 6))
    expected = torch.stack([ops.pool(t, text, s) for t, s in zip(x, starts, strict=True)])
    assert torch.equal(torch.func.vmap(lambda t, s: ops.pool(t, text, s))(x, starts), expected)
    one = torch.stack([ops.pool(t, text, starts[0]) for t in x])
    assert torch.equal(torch.func.vmap(lambda t: ops.pool(t, text, starts[0]))(x), one)
    shared = torch.func.vmap(lambda t: ops.pool(t, text, starts[0, :1]))(x)
    assert torch.equal(shared[1], ops.pool(x[1], text, starts[0, :1]))
    down, up = nn.MaxPool2d(3, return_indices=True), nn.MaxUnpool2d(3)
    assert torch.equal(
        torch.func.vmap(lambda t: up(*down(t), (9, 8)))(x), up(*down(x.flatten(0, 1)), (9, 8)).view_as(x)
    )
    grad = torch.func.vmap(torch.func.grad(lambda t: (up(*down(t), (9, 8)) ** 2).sum()))(x)
    assert grad.shape == x.shape


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile_of_named_functions(backend):
    torch._dynamo.reset()
    x = torch.randn(2, 3, 8, 8)
    compiled = torch.compile(lambda t: pk.max_pool2d(pk.avg_pool2d(t, 2), 2), fullgraph=True, backend=backend)
    assert torch.equal(compiled(x), pk.max_pool2d(pk.avg_pool2d(x, 2), 2))


@pytest.mark.parametrize(
    "module",
    [
        nn.MedianPool2d(3),
        nn.RankPool2d(3),
        nn.OrdinalPool2d(2, channels=3),
        nn.StochasticPool2d(2),
        nn.RandomMixedPool2d(2, per="plane"),
        nn.S3Pool2d(2, 4),
        nn.FractionalAvgPool2d(None, style="tensorflow", pooling_ratio=1.5),
    ],
    ids=lambda module: type(module).__name__,
)
def test_fx_keeps_learned_arrays_and_draws(module):
    """A traced graph has the weights as they are when it runs, and draws then."""
    traced, x = torch.fx.symbolic_trace(torch.nn.Sequential(module)), torch.rand(2, 3, 8, 8)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    for seed in (0, 1):
        torch.manual_seed(seed)
        got = traced(x)
        torch.manual_seed(seed)
        assert torch.equal(got, module(x))


def test_compiles_to_one_graph_in_a_process_that_imported_poolkit_alone():
    code = """
import torch, poolkit as pk
x = torch.arange(32.0).view(1, 2, 4, 4)
for call in (lambda t: pk.pool(t, pk.Sliding(2), pk.Max()), lambda t: pk.avg_pool2d(t, 2)):
    compiled = torch.compile(call, fullgraph=True, backend="eager")(x)
    assert torch.equal(compiled, call(x))
print("same")
"""
    assert in_process(code, seconds=120, gigabytes=16).strip().endswith("same")
