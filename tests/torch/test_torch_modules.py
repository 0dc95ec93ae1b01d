"""poolkit.nn as a drop-in for torch.nn: names, constructors, repr, state, values; and the modules torch lacks."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from torch.nn.modules import pooling as torch_pooling

import poolkit as pk
from poolkit import nn

# class name -> argument lists that are legal in every rank the class has
ARGUMENTS = {
    "MaxPool": [((2,), {}), ((3, 2, 1), {}), ((3,), {"stride": 1, "padding": 1, "dilation": 2, "ceil_mode": True})],
    "AvgPool": [((2,), {}), ((3, 2, 1), {}), ((3, 2, 1, True, False), {})],
    "LPPool": [((2, 2), {}), ((3.0, 3, 2, True), {}), ((2,), {"kernel_size": 2, "stride": 1})],
    "AdaptiveMaxPool": [((3,), {}), ((1,), {})],
    "AdaptiveAvgPool": [((3,), {}), ((1,), {})],
    "FractionalMaxPool": [((2, 3), {}), ((2,), {"output_ratio": 0.5})],
    "MaxUnpool": [((2,), {}), ((3, 2, 1), {})],
}
DROP_IN = [(name, arguments, options) for name in torch_pooling.__all__ for arguments, options in ARGUMENTS[name[:-2]]]
IDS = [f"{name}-{arguments}-{options}" for name, arguments, options in DROP_IN]
MORE = [f"{name}Pool{rank}d" for name in ("Min", "Sum", "Soft", "LogSumExp", "PowerMean", "RMS") for rank in (1, 2, 3)]
SIZES = (9, 8, 7)


def example(name, dtype=torch.float32):
    rank = int(name[-2])
    return torch.randn(2, 3, *SIZES[:rank], dtype=dtype, generator=torch.Generator().manual_seed(0))


def test_every_name_is_there():
    assert set(torch_pooling.__all__) <= set(nn.__all__)
    assert set(MORE) <= set(nn.__all__)


@pytest.mark.parametrize("name", torch_pooling.__all__)
def test_constructors_take_the_same_arguments_in_the_same_order(name):
    theirs = list(inspect.signature(getattr(torch.nn, name)).parameters.values())
    ours = list(inspect.signature(getattr(nn, name)).parameters.values())
    positional = [p.name for p in ours if p.kind is not p.KEYWORD_ONLY]
    assert positional[: len(theirs)] == [p.name for p in theirs]
    assert [p.default for p in ours][: len(theirs)] == [p.default for p in theirs]
    if not name.startswith("AvgPool1"):
        assert len(positional) == len(theirs)


@pytest.mark.parametrize(("name", "arguments", "options"), DROP_IN, ids=IDS)
def test_repr_and_state_are_torchs(name, arguments, options):
    ours, theirs = getattr(nn, name)(*arguments, **options), getattr(torch.nn, name)(*arguments, **options)
    assert repr(ours) == repr(theirs)
    assert ours.state_dict() == theirs.state_dict()
    ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize(("name", "arguments", "options"), DROP_IN, ids=IDS)
def test_values_are_torchs(name, arguments, options):
    ours, theirs = getattr(nn, name)(*arguments, **options), getattr(torch.nn, name)(*arguments, **options)
    x = example(name)
    if "Unpool" in name:
        ours_pool = getattr(nn, name.replace("Unpool", "Pool"))(*arguments, **options, return_indices=True)
        values, indices = ours_pool(x)
        # torch's 1-D module takes a shape of three entries only through its spatial part
        assert torch.equal(ours(values, indices, x.shape), theirs(values, indices, x.shape[2:]))
        return
    if name.startswith("LP"):
        if ours.ceil_mode:
            pytest.skip("torch overestimates overhanging windows")
        x = x.abs()
    torch.manual_seed(0)
    y = ours(x)
    torch.manual_seed(0)
    expected = theirs(x)
    if "Max" in name:
        assert torch.equal(y, expected)
    else:
        torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
    unbatched = ours(x[0])
    assert unbatched.shape == y.shape[1:]


@pytest.mark.parametrize("name", [name for name in torch_pooling.__all__ if "Max" in name and "Un" not in name])
def test_return_indices(name):
    arguments, _ = ARGUMENTS[name[:-2]][0]
    x = example(name)
    torch.manual_seed(0)
    values, indices = getattr(nn, name)(*arguments, return_indices=True)(x)
    torch.manual_seed(0)
    expected = getattr(torch.nn, name)(*arguments, return_indices=True)(x)
    assert torch.equal(values, expected[0])
    assert torch.equal(indices, expected[1])


@pytest.mark.parametrize("name", MORE)
def test_the_modules_torch_lacks(name):
    module, x = getattr(nn, name)(3, 2, 1), example(name, torch.float64)
    assert repr(module).startswith(f"{name}(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False")
    assert not module.state_dict()
    reducer = getattr(pk, name[:-6])()
    assert torch.equal(module(x), pk.pool(x, pk.Sliding(3, 2, 1), reducer))


def test_options_of_the_modules_torch_lacks():
    x = example("x2d", torch.float64)
    assert torch.equal(nn.SoftPool2d(2, beta=3.0)(x), pk.pool(x, pk.Sliding(2), pk.Soft(3.0)))
    assert torch.equal(nn.LogSumExpPool2d(2, mean=False)(x), pk.pool(x, pk.Sliding(2), pk.LogSumExp(mean=False)))
    assert torch.equal(nn.PowerMeanPool2d(2, p=2, eps=0.1)(x), pk.pool(x, pk.Sliding(2), pk.PowerMean(2, 0.1)))
    assert torch.equal(nn.AvgPool2d(2, dilation=2)(x), pk.pool(x, pk.Sliding(2, dilation=2), pk.Mean()))
    assert "dilation=2" in repr(nn.AvgPool2d(2, dilation=2))
    assert "padding=1" in repr(nn.LPPool2d(2, 2, padding=1))
    assert nn.MaxPool2d(3, 2, "same")(x).shape[2:] == (5, 4)
    assert isinstance(nn.MinPool2d(2, return_indices=True)(x), tuple)


def modules():
    yield nn.MaxPool2d((3, 2), return_indices=True)
    yield nn.AvgPool2d(2, count_include_pad=False)
    yield nn.LPPool2d(2, 3)
    yield nn.AdaptiveAvgPool2d((2, None))
    yield nn.FractionalMaxPool2d(2, output_ratio=0.5, _random_samples=torch.rand(2, 3, 2))
    yield nn.SoftPool2d(2, beta=2.0)


@pytest.mark.parametrize("module", list(modules()), ids=lambda m: type(m).__name__)
def test_copies_and_files(module, tmp_path):
    x = example("x2d")
    expected = module(x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    torch.save(module, tmp_path / "module.pt")
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    for other in (
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(tmp_path / "module.pt", weights_only=False),
    ):
        assert repr(other) == repr(module)
        y = other(x)
        y = y if isinstance(y, tuple) else (y,)
        assert all(torch.equal(a, b) for a, b in zip(y, expected, strict=True))


def test_attributes_may_be_changed_after_construction():
    x, module = example("x2d"), nn.MaxPool2d(2)
    module.ceil_mode = True
    assert module(x).shape[2:] == (5, 4)
    module.kernel_size = module.stride = [3, 3]
    assert module(x).shape[2:] == (3, 3)
    module.kernel_size = 0
    with pytest.raises(pk.PoolError, match="kernel_size"):
        module(x)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: nn.MaxPool2d(0), "kernel_size"),
        (lambda: nn.MaxPool2d(True), "kernel_size"),
        (lambda: nn.MaxPool2d(2.0), "kernel_size"),
        (lambda: nn.MaxPool2d((2, 2, 2)), "kernel_size"),
        (lambda: nn.MaxPool2d(2, 0), "stride"),
        (lambda: nn.MaxPool2d(2, 1, -1), "padding"),
        (lambda: nn.MaxPool2d(2, dilation=0), "dilation"),
        (lambda: nn.MaxPool2d(2, ceil_mode="yes"), "ceil_mode"),
        (lambda: nn.AvgPool2d(2, divisor_override=0), "divisor_override"),
        (lambda: nn.AvgPool3d(2, divisor_override=-1), "divisor_override"),
        (lambda: nn.AvgPool1d(2, count_include_pad=3), "count_include_pad"),
        (lambda: nn.LPPool2d(0, 2), "norm_type"),
        (lambda: nn.LPPool2d(-1.0, 2), "norm_type"),
        (lambda: nn.LPPool1d(float("nan"), 2), "norm_type"),
        (lambda: nn.AdaptiveAvgPool2d(0), "output_size"),
        (lambda: nn.AdaptiveMaxPool2d((1, 2, 3)), "output_size"),
        (lambda: nn.FractionalMaxPool2d(2), "output_size"),
        (lambda: nn.FractionalMaxPool2d(2, 2, 0.5), "output_size"),
        (lambda: nn.FractionalMaxPool2d(2, output_ratio=1.5), "output_ratio"),
        (lambda: nn.FractionalMaxPool3d(-1, 2), "kernel_size"),
        (lambda: nn.MaxUnpool2d(2, 0), "stride"),
        (lambda: nn.MaxUnpool2d((2, 2, 2)), "kernel_size"),
        (lambda: nn.SoftPool2d(2, beta=0), "beta"),
        (lambda: nn.PowerMeanPool2d(2, p=-1), "p"),
    ],
)
def test_bad_arguments_are_reported_at_construction(make, named):
    with pytest.raises(pk.PoolError, match=named):
        make()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: nn.MaxPool2d(2)(torch.zeros(3, 3)), "input x"),
        (lambda: nn.MaxPool2d(2)(torch.zeros(1, 1, 1, 3, 3)), "input x"),
        (lambda: nn.MaxPool2d(2)(torch.zeros(1, 0, 3, 3)), "input x"),
        (lambda: nn.MaxPool2d(2)(torch.zeros(1, 1, 0, 3)), "input x"),
        (lambda: nn.MaxPool2d(5)(torch.zeros(1, 1, 3, 3)), "kernel_size"),
        (lambda: nn.MaxPool2d(2)(torch.zeros(1, 1, 3, 3, dtype=torch.bool)), "dtype"),
        (lambda: nn.MaxPool2d(2)(torch.zeros(1, 1, 3, 3, dtype=torch.complex64)), "dtype"),
        (lambda: nn.SoftPool2d(2)(torch.zeros(1, 1, 3, 3, dtype=torch.int64)), "dtype"),
        (lambda: nn.MaxPool2d(2)([[1.0]]), "input x"),
        (lambda: nn.MaxPool2d(2)(torch.zeros(1, 1, 3, 3).to_sparse()), "layout"),
        (lambda: nn.AdaptiveAvgPool2d(2**40)(torch.zeros(1, 1, 3, 3)), "output_size"),
        (lambda: nn.FractionalMaxPool2d(3, 2)(torch.zeros(1, 1, 3, 3)), "kernel_size"),
        (lambda: pk.pool(torch.zeros(1, 1, 3, 3), pk.Sliding(2), pk.Mean(), return_indices=True), "return_indices"),
    ],
)
def test_bad_inputs_are_reported_at_the_call(call, named):
    with pytest.raises(pk.PoolError, match=named):
        call()


@pytest.mark.parametrize("samples", [torch.full((1, 1, 2), v) for v in (1.0, 7.5, -3.5, float("nan"))])
def test_bad_samples(samples):
    with pytest.raises(pk.PoolError, match="_random_samples"):
        nn.FractionalMaxPool2d(2, 2, _random_samples=samples)(torch.zeros(1, 1, 6, 6))


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 2, 2), (0, 1, 2)])
def test_samples_of_a_wrong_shape(shape):
    with pytest.raises(pk.PoolError, match="_random_samples"):
        nn.FractionalMaxPool2d(2, 2, _random_samples=torch.zeros(shape))(torch.zeros(1, 1, 6, 6))


def test_bad_unpooling():
    x, indices = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    unpool = nn.MaxUnpool2d(2)
    for bad in (-1, 16, 2**40, -(2**63)):
        with pytest.raises(pk.PoolError, match="indices"):
            unpool(x, indices + bad)
        with pytest.raises(pk.PoolError, match="indices"):
            unpool(x.requires_grad_(), indices + bad)
    with pytest.raises(pk.PoolError, match="indices"):
        unpool(x, indices.int())
    with pytest.raises(pk.PoolError, match="indices"):
        unpool(x, indices[..., :1])
    with pytest.raises(pk.PoolError, match=r"output_size.*\n.*3\.\.5 x 3\.\.5"):
        unpool(x, indices, (9, 9))
    with pytest.raises(pk.PoolError, match="output_size"):
        unpool(x, indices, (4, 4, 4))
    assert unpool(x, indices, (1, 1, 5, 3)).shape == (1, 1, 5, 3)


def test_duplicate_indices_have_one_winner_forward_and_backward():
    x = torch.tensor([[[1.0, 2.0, 3.0]]], requires_grad=True)
    y = nn.MaxUnpool1d(2)(x, torch.tensor([[[0, 0, 5]]]))
    assert y.tolist() == [[[2, 0, 0, 0, 0, 3]]]
    y.sum().backward()
    assert x.grad.tolist() == [[[0, 1, 1]]]


class Pooled(torch.utils.data.Dataset):
    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.module(torch.full((3, 64, 64), float(index)))


@pytest.mark.filterwarnings("ignore")  # about fork in a process with threads, which is the point
def test_forked_data_loader_workers_pool_after_the_parent_did():
    module = nn.MaxPool2d(3, 2, 1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        module(torch.randn(8, 16, 64, 64))
        loader = torch.utils.data.DataLoader(
            Pooled(module), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=60
        )
        assert torch.cat([batch.flatten(1).mean(1) for batch in loader]).tolist() == list(range(8))
    finally:
        torch.set_num_threads(before)


def test_autocast_keeps_the_dtype_of_the_input_where_nothing_is_delicate():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nn.AvgPool2d(2)(torch.randn(1, 1, 4, 4)).dtype == torch.float32
        assert nn.MaxPool2d(2)(torch.randn(1, 1, 4, 4).bfloat16()).dtype == torch.bfloat16
