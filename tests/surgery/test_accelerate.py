"""accelerate and restore: the same module, the same results, poolkit's operators, and back."""

import copy
import io
import pickle
import threading

import pytest
import torch
from counting import Operators, ours
from torch import nn
from torch.nn.utils import parametrize

import poolkit as pk
from poolkit.surgery import survey

# One of each of torch.nn's poolings that poolkit takes over, with what it pools.
PLAIN = {
    "MaxPool": lambda rank: ((3, 2, 1), {}),
    "AvgPool": lambda rank: ((3, 2, 1), {}),
    "AdaptiveMaxPool": lambda rank: ((3,), {"return_indices": True}),
    "AdaptiveAvgPool": lambda rank: ((3,), {}),
    "FractionalMaxPool": lambda rank: ((2,), {"output_ratio": 0.6}),
    "LPPool": lambda rank: ((2, 3), {}),
}
KINDS = [
    (name, rank) for name in PLAIN for rank in (1, 2, 3) if not (name == "FractionalMaxPool" and rank == 1)
]  # torch has none


def made(name, rank):
    arguments, named = PLAIN[name](rank)
    return getattr(nn, f"{name}{rank}d")(*arguments, **named)


def outputs(module, x, seed=0):
    torch.manual_seed(seed)
    y = module(x)
    return y if isinstance(y, tuple) else (y,)


def cells(rank):
    return torch.randn(2, 16, *{1: (300,), 2: (24, 17), 3: (9, 8, 7)}[rank])


class Calls(nn.Module):
    """Calls functions that pool, beside a pooling module under two names."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 16, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.again = self.pool

    def forward(self, x, flip=False):
        x = nn.functional.max_pool2d(self.pool(self.convolution(x)).relu(), kernel_size=2)
        x = torch.flip(x, (-1,)) if flip else x
        return nn.functional.adaptive_avg_pool2d(nn.functional.avg_pool2d(self.again(x), 3, 1, 1), 3).amax((2, 3))


@pytest.fixture
def images():
    return torch.randn(4, 3, 64, 64)


@pytest.mark.parametrize(("name", "rank"), KINDS)
def test_every_pooling_of_torch_becomes_poolkits_with_the_same_results(name, rank):
    module, x = made(name, rank), cells(rank).abs()
    expected = outputs(module, x)
    assert pk.accelerate(module, only_faster=False, include_different=True, quiet=True) is module
    assert isinstance(module, getattr(nn, f"{name}{rank}d"))
    assert isinstance(module, getattr(pk.nn, f"{name}{rank}d"))
    with Operators() as seen:
        got = outputs(module, x)
    assert seen.ours
    for mine, theirs in zip(got, expected, strict=True):
        if "Max" in name:
            assert torch.equal(mine, theirs)
        else:
            torch.testing.assert_close(mine, theirs, rtol=4 * torch.finfo(x.dtype).eps, atol=0)
    pk.restore(module)
    assert type(module) is getattr(nn, f"{name}{rank}d")
    assert ours(module, x) == 0
    assert vars(module).keys() == vars(made(name, rank)).keys()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unpooling_is_taken_over_where_windows_do_not_overlap(rank):
    down, x = getattr(nn, f"MaxPool{rank}d")(2, return_indices=True), cells(rank)
    values, indices = down(x)
    sizes = x.shape[2:]
    up, wide = getattr(nn, f"MaxUnpool{rank}d")(2), getattr(nn, f"MaxUnpool{rank}d")(3, 2)
    expected = up(values, indices, sizes)
    for module, swapped in ((up, True), (wide, False)):
        pk.accelerate(module, only_faster=False, quiet=True)
        assert isinstance(module, getattr(pk.nn, f"MaxUnpool{rank}d")) is swapped
    assert ours(up, values, indices, sizes) == 1
    assert torch.equal(up(values, indices, sizes), expected)


def test_repr_state_and_settings_stay(images):
    model = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d((None, 2)))
    before, keys = repr(model), model.state_dict().keys()
    pk.accelerate(model, quiet=True)
    assert repr(model) == before
    assert model.state_dict().keys() == keys
    model[0].kernel_size = 2
    assert torch.equal(model[0](images), nn.functional.max_pool2d(images, 2, 2, ceil_mode=True))
    pk.restore(model)
    assert model[0].kernel_size == 2


def test_hooks_flags_and_identity_stay():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU()).eval()
    pool, seen = model[1], []
    pool.register_forward_pre_hook(lambda *_: seen.append("pre"))
    handle = pool.register_forward_hook(lambda *_: seen.append("forward"))
    pool.register_full_backward_hook(lambda *_: seen.append("backward"))
    pk.accelerate(model, only_faster=False, quiet=True)
    assert model[1] is pool
    assert not pool.training
    x = torch.randn(1, 3, 9, 9, requires_grad=True)
    model(x).sum().backward()
    assert seen == ["pre", "forward", "backward"]
    handle.remove()
    pk.restore(model)
    model(x).sum().backward()
    assert seen == ["pre", "forward", "backward", "pre", "backward"]


def test_a_module_under_two_names_stays_one(images):
    model = Calls()
    pk.accelerate(model, quiet=True)
    assert model.pool is model.again
    assert [v.name for v in survey(model)] == ["pool", ""]


def test_parametrizations_stay():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    pool = nn.AvgPool2d(2)
    pool.register_buffer("scale", torch.ones(1))
    parametrize.register_parametrization(pool, "scale", Double())
    block = Calls()
    parametrize.register_parametrization(block.convolution, "weight", Double())
    model = nn.Sequential(block, nn.Unflatten(1, (4, 2, 2)), pool)
    x = torch.randn(2, 3, 32, 32)
    expected = model(x)
    for other in (model, copy.deepcopy(model)):
        pk.accelerate(other, only_faster=False, quiet=True)
        assert isinstance(other[2], pk.nn.AvgPool2d)
        assert other[2].scale == 2
        torch.testing.assert_close(other(x), expected)
        assert parametrize.is_parametrized(other[2])
    parametrize.remove_parametrizations(model[2], "scale")
    assert isinstance(model[2], pk.nn.AvgPool2d)
    pk.restore(model)
    assert type(model[2]) is nn.AvgPool2d
    assert parametrize.type_before_parametrizations(pk.restore(other)[2]) is nn.AvgPool2d


def test_an_intercepted_module_may_be_parametrized_later():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    model = Calls()
    model.scale = nn.Parameter(torch.ones(1))
    pk.accelerate(model, only_faster=False, quiet=True)
    parametrize.register_parametrization(model, "scale", Double())
    x = torch.randn(2, 3, 32, 32)
    assert ours(model, x) == 5, "amax with a gradient is torch's"
    pk.restore(model)
    assert model.scale == 2
    assert ours(model, x) == 0
    parametrize.remove_parametrizations(model, "scale")
    assert type(model) is Calls


def test_calls_in_forward_are_taken_over(images):
    model = Calls().eval()
    expected = model(images, flip=True)
    pk.accelerate(model, only_faster=False, include_different=True, quiet=True)
    assert isinstance(model, Calls)
    assert type(model).__name__ == "Calls"
    with Operators() as seen:
        got = model(images, flip=True)
    assert seen.ours == 6
    assert "aten::max_pool2d_with_indices" not in seen.counts
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert ours(torch.nn.functional.max_pool2d, images, 2) == 0, "nothing outside of the forward"
    pk.restore(model)
    assert type(model) is Calls
    assert ours(model, images) == 0
    assert torch.equal(model(images, flip=True), expected)
    pk.accelerate(model, functional=False, only_faster=False, quiet=True)
    assert ours(model, images) == 2


def test_a_part_that_names_a_pooling_is_intercepted_by_itself(images):
    model = nn.Sequential(Calls(), nn.Linear(16, 2))
    pk.accelerate(model, only_faster=False, quiet=True)
    assert ours(model[0], images) == 5
    assert ours(model, images) == 5


def test_activation_checkpointing_calls_a_part_again(images):
    from torch.utils.checkpoint import checkpoint

    model = nn.Sequential(Calls(), nn.Linear(16, 2))
    expected = torch.autograd.grad(model(images).sum(), list(model.parameters()))
    pk.accelerate(model, only_faster=False, quiet=True)
    y = model[1](checkpoint(model[0], images, use_reentrant=False))
    got = torch.autograd.grad(y.sum(), list(model.parameters()))
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_copies_and_pickles_are_accelerated_too(images):
    model = Calls().eval()
    expected = model(images)
    pk.accelerate(model, only_faster=False, quiet=True)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    copies = [
        copy.deepcopy(model),
        copy.copy(model),
        *(pickle.loads(pickle.dumps(model, protocol)) for protocol in (0, 2, 5)),
        torch.load(buffer, weights_only=False),
    ]
    for other in copies:
        assert ours(other, images) == 5
        torch.testing.assert_close(other(images), expected, rtol=1e-5, atol=1e-6)
        assert type(pk.restore(other)) is Calls
        assert type(other.pool) is nn.MaxPool2d


def test_data_parallel_replicas_are_accelerated_in_their_threads(images):
    model = nn.DataParallel(Calls()).eval()
    pk.accelerate(model, only_faster=False, quiet=True)
    assert ours(model, images) == 5
    replica = model.module._replicate_for_data_parallel()
    counts = []
    thread = threading.Thread(target=lambda: counts.append(ours(replica, images)))
    thread.start()
    thread.join()
    assert counts == [5]


def test_other_threads_see_torch(images):
    counts = []
    with pk.accelerated(only_faster=False):
        thread = threading.Thread(target=lambda: counts.append(ours(nn.functional.max_pool2d, images, 2)))
        thread.start()
        thread.join()
        counts.append(ours(nn.functional.max_pool2d, images, 2))
    assert counts == [0, 1]


def test_accelerating_twice_changes_the_options(images):
    model = Calls()
    for only_faster in (False, True, False):
        pk.accelerate(model, only_faster=only_faster, quiet=True)
        assert (ours(model, images[:1, :, :8, :8]) > 0) is not only_faster, "so little is left to torch"
    assert type(type(model).__mro__[2]) is type
    assert type(model).__mro__[2] is Calls


def test_what_is_left_alone_and_why(capsys):
    class Own(nn.MaxPool2d):
        def forward(self, x):
            return -super().forward(-x)

    class GlobalPool(nn.Module):
        def forward(self, x):
            return x.flatten(2).sum(-1)

    replaced = nn.MaxPool2d(2)
    replaced.forward = lambda x: x
    model = nn.Sequential(
        Own(2), nn.LPPool2d(2, 2), nn.MaxUnpool2d(3, 2), nn.MaxPool2d((2,)), replaced, GlobalPool(), pk.nn.SoftPool2d(2)
    )
    kinds = list(map(type, model))
    verdicts = {v.name: v for v in survey(model)}
    pk.accelerate(model)
    printed = " ".join(capsys.readouterr().out.split())
    assert list(map(type, model)) == kinds
    for name, why in enumerate(
        ["subclass", "include_different", "overlap", "one value for each", "replaced", "not one of", "already"]
    ):
        assert not verdicts[str(name)].swapped
        assert why in verdicts[str(name)].why
    assert "poolkit runs 1 of 8" in printed
    assert "left alone" in printed
    x = torch.randn(1, 1, 6, 6)
    pk.accelerate(model, include_different=True, quiet=True)
    assert isinstance(model[1], pk.nn.LPPool2d)
    assert torch.equal(model[0](x), -nn.functional.max_pool2d(-x, 2))


def test_a_model_without_pooling_says_so(capsys):
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    assert pk.accelerate(model) is model
    assert "no pooling" in capsys.readouterr().out
    assert type(model) is nn.Sequential


def test_quiet_prints_nothing(capsys, images):
    pk.restore(pk.accelerate(Calls(), quiet=True))
    pk.swap(Calls(), {"MaxPool2d": "AvgPool2d"}, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_without_rich_the_table_is_plain_text(capsys, monkeypatch):
    monkeypatch.setattr("poolkit.surgery.tables.find_spec", lambda _: None)
    pk.accelerate(nn.Sequential(nn.MaxPool2d(2)))
    assert "MaxPool2d(2)  poolkit" in capsys.readouterr().out


@pytest.mark.parametrize("other", [3, None, nn.MaxPool2d, "model"])
def test_a_model_is_a_module(other):
    for act in (pk.accelerate, pk.restore, survey, lambda m: pk.swap(m, {}), lambda m: pk.find_pools(m, None)):
        with pytest.raises(pk.PoolTypeError, match=r"model is a torch\.nn\.Module"):
            act(other)
    with pytest.raises(pk.PoolTypeError, match="only_faster"):
        pk.accelerate(nn.MaxPool2d(2), only_faster="yes")


def test_torch_takes_what_poolkit_does_not(images):
    model = nn.MaxPool2d(2)
    pk.accelerate(model, only_faster=False, quiet=True)
    assert model(images.to("meta")).shape == (4, 3, 32, 32)
    assert torch.equal(model(images.to(torch.int32)), nn.functional.max_pool2d(images.to(torch.int32), 2))
    tangent = torch.ones_like(images)
    _, derivative = torch.func.jvp(model, (images,), (tangent,))
    assert torch.equal(derivative, torch.ones(4, 3, 32, 32)), "forward-mode derivatives are torch's"
    assert torch.equal(torch.func.vmap(model)(images[None])[0], nn.functional.max_pool2d(images, 2))
    with torch.autocast("cpu", torch.bfloat16):
        averages = nn.AvgPool3d(2)
        half = torch.ones(1, 1, 4, 4, 4, dtype=torch.bfloat16)
        expected = averages(half).dtype
        assert pk.accelerate(averages, only_faster=False, quiet=True)(half).dtype == expected
    with pytest.raises(RuntimeError, match="Output size is too small"), torch.no_grad():
        pk.accelerate(nn.MaxPool2d(9), only_faster=False, quiet=True)(images[:, :, :3, :3])


def test_gradients_are_those_of_torch(images):
    model = Calls()
    model.train()
    expected = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
    pk.accelerate(model, only_faster=False, quiet=True)
    got = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_amax_keeps_its_even_gradient():
    x = torch.ones(1, 64, 8, 8, requires_grad=True)
    with pk.accelerated(only_faster=False):
        (dx,) = torch.autograd.grad(x.amax((2, 3)).sum(), x)
        assert torch.equal(dx, torch.full_like(x, 1 / 64))
        with torch.no_grad():
            assert ours(x.amax, (2, 3)) == 1
    with pk.accelerated(only_faster=False, include_different=True):
        (dx,) = torch.autograd.grad(x.amax((2, 3)).sum(), x)
    assert dx[0, 0, 0, 0] == 1
    assert dx.count_nonzero() == 64


pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning"
)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile_has_no_graph_break_and_runs_poolkit(images, backend):
    torch._dynamo.reset()
    model = Calls().eval()
    expected = model(images)
    pk.accelerate(model, quiet=True)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with torch.no_grad():
        for batch in (4, 2):
            torch.testing.assert_close(compiled(images[:batch]), expected[:batch], rtol=1e-5, atol=1e-6)
    loss = compiled(images).sum()
    assert torch.isfinite(torch.autograd.grad(loss, model.convolution.weight)[0]).all()
    graphs = []
    torch._dynamo.reset()
    torch.compile(model, fullgraph=True, backend=lambda graph, _: graphs.append(str(graph.graph)) or graph)(images)
    assert "poolkit" in graphs[0] or "autograd_function_apply" in graphs[0]


def test_a_compiled_model_can_be_accelerated_and_restored(images):
    torch._dynamo.reset()
    graphs = []
    model = Calls().eval()
    with torch.no_grad():
        compiled = torch.compile(
            model, fullgraph=True, backend=lambda graph, _: graphs.append(str(graph.graph)) or graph
        )
        expected = compiled(images)
        pk.accelerate(compiled, quiet=True)
        torch.testing.assert_close(compiled(images), expected, rtol=1e-5, atol=1e-6)
        pk.restore(compiled)
        assert type(model) is Calls
        assert torch.equal(compiled(images), expected)
    assert ["poolkit" in graph for graph in graphs[:2]] == [False, True]


def test_traced_programs_hold_torchs_operators(images):
    model = Calls().eval()
    expected = model(images)
    pk.accelerate(model, only_faster=False, quiet=True)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    traced = torch.jit.trace(model, images)
    symbolic = torch.fx.symbolic_trace(model, {"flip": False})
    for run in (program.module(), traced, symbolic):
        assert torch.equal(run(images), expected)
    assert not [node.target for node in program.graph.nodes if "poolkit" in str(node.target)]
    assert "poolkit::" not in str(traced.inlined_graph)
    assert traced.save_to_buffer()
    assert [v.why for v in survey(traced) if v.settings.startswith("calls")] == ["a fixed graph"]
    assert pk.accelerate(traced, quiet=True) is traced
    assert pk.accelerate(symbolic, quiet=True)(images).shape == expected.shape
