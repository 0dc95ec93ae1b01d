"""Surgery on real networks: accelerated they give and learn the same, and all of it can be undone."""

import onnx
import pytest
import torch
from networks import NETWORKS
from torch._dynamo.backends.registry import lookup_backend
from torch.utils._python_dispatch import TorchDispatchMode

import poolkit as pk
from poolkit.surgery import survey

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning"
)
each = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def made(name):
    if name.startswith("hf_"):
        pytest.importorskip("transformers", reason="its networks come from there")
    network = NETWORKS[name]
    return network.make(), torch.randn(network.shape), network


class Ours(TorchDispatchMode):
    """Counts poolkit's operators."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func._schema.name.startswith("poolkit::")
        return func(*args, **(kwargs or {}))


def kinds(model):
    return {name: type(module) for name, module in model.named_modules()}


@each
def test_accelerated_it_gives_the_same_and_restored_it_is_the_same(name):
    model, x, network = made(name)
    model.eval()
    before, classes = model(x), kinds(model)
    pk.accelerate(model, only_faster=False, quiet=True)
    assert all(verdict.swapped for verdict in survey(model))
    with torch.no_grad(), Ours() as ours:
        got = model(x)
    assert ours.count == network.ours
    torch.testing.assert_close(got, before, rtol=1e-4, atol=1e-5)
    pk.accelerate(model, quiet=True)
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    pk.restore(model)
    assert kinds(model) == classes
    assert torch.equal(model(x), before)


@each
def test_swapped_it_gives_the_same_shape_and_restored_the_same(name):
    model, x, network = made(name)
    model.eval()
    before, classes = model(x), kinds(model)
    pk.swap(model, network.rules, example=x, quiet=True)
    got = model(x)
    assert got.shape == before.shape
    assert torch.isfinite(got).all()
    assert torch.equal(got, before) is not bool(network.rules)
    pk.restore(model)
    assert kinds(model) == classes
    assert torch.equal(model(x), before)


@each
def test_one_training_step_is_the_same(name):
    model, x, _ = made(name)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0

    def step():
        torch.manual_seed(1)
        model.zero_grad()
        model(x).square().mean().backward()
        return {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}

    with torch.no_grad():
        state = {key: value.clone() for key, value in model.state_dict().items()}
    expected = step()
    assert expected
    model.load_state_dict(state)
    pk.accelerate(model, only_faster=False, quiet=True)
    got = step()
    assert got.keys() == expected.keys()
    for key, theirs in expected.items():
        scale = theirs.abs().max().item()
        torch.testing.assert_close(got[key], theirs, rtol=1e-3, atol=1e-4 * max(scale, 1e-6), msg=key)


@each
def test_compiled_in_one_graph_it_gives_the_same(name):
    torch._dynamo.reset()
    model, x, network = made(name)
    model.eval()
    before, graphs = model(x), []
    pk.accelerate(model, quiet=True)
    # One all the way down to machine code; the others as far as the operators.
    compiler = lookup_backend("inductor" if name == "small_segnet" else "aot_eager")

    def backend(graph, inputs):
        graphs.append(str(graph.graph))
        return compiler(graph, inputs)

    with torch.no_grad():
        got = torch.compile(model, fullgraph=True, backend=backend)(x)
    torch.testing.assert_close(got, before, rtol=1e-4, atol=1e-4)
    assert len(graphs) == 1
    unpools = network.ours // 2 if "segnet" in name else 0
    assert graphs[0].count("torch.ops.poolkit.pool") == network.ours - unpools


@each
def test_exported_it_holds_torchs_operators_and_gives_the_same(name):
    model, x, _ = made(name)
    model.eval()
    before = model(x)
    pk.accelerate(model, only_faster=False, quiet=True)
    program = torch.export.export(model, (x,))
    assert not [node.target for node in program.graph.nodes if "poolkit" in str(node.target)]
    torch.testing.assert_close(program.module()(x), before, rtol=1e-4, atol=1e-5)


@each
def test_its_poolings_are_found(name):
    model, x, network = made(name)
    sites = pk.find_pools(model.eval(), x, rounds=1)
    pools = [site for site in sites if site.kind != "strided convolution"]
    assert sum(site.calls for site in pools) == network.ours
    if name.startswith("hf_") or name in ("resnet18", "inception", "yolo_spp"):
        assert any(site.kind == "strided convolution" for site in sites)


@each
def test_as_an_onnx_file_it_gives_the_same(name, tmp_path):
    """With poolkit's poolings in place of torch's; the file is run in ONNX Runtime and compared as it is written."""
    model, x, network = made(name)
    model.eval()
    pk.swap(model, network.rules, example=x, quiet=True)
    file = pk.export_onnx(model, x, tmp_path / "net.onnx", optimize=False)
    domains = {node.domain for node in onnx.load(file).graph.node}
    assert domains <= {"", "ai.onnx"}
