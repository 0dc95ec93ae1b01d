"""What two processes of `test_torch_distributed.py` do; each prints the names of the steps that went well."""

from __future__ import annotations

import sys
import traceback
import warnings

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import poolkit as pk
from poolkit import nn
from poolkit.torch.functional import pool

WORLD = 2


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        nn.MaxPool2d(2),
        nn.SoftPool2d(2, 1),
        nn.MixedPool2d(2, weight="channel", channels=4),
        nn.GeMPool2d(channels=4),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    ).double()


def batch() -> torch.Tensor:
    return torch.randn(4, 3, 12, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def gradients(module: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    module(x).square().mean().backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def mine(x: torch.Tensor) -> torch.Tensor:
    return x.chunk(WORLD)[dist.get_rank()]


def ddp() -> None:
    """A step on half the batch each, averaged, is a step on the whole of it."""
    want = gradients(model(), batch())
    got = gradients(DistributedDataParallel(model()), mine(batch()))
    assert len(got) == len(want) == 6
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, want[name.removeprefix("module.")])


def fsdp() -> None:
    """Parameters are sharded, gradients those of one process."""
    want = gradients(model(), batch())
    sharded = model()
    mesh = init_device_mesh("cpu", (WORLD,))
    for layer in sharded:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    got = gradients(sharded, mine(batch()))
    for name, gradient in got.items():
        assert isinstance(gradient, DTensor)
        torch.testing.assert_close(gradient.full_tensor(), want[name])


WINDOWS = (pk.Sliding(3, 2, 1), pk.Adaptive(2), pk.Global(), pk.Sliding(2))
REDUCERS = (pk.Max(), pk.Mean(), pk.Lp(3), pk.Soft(), pk.Median(), pk.Var(), pk.Mixed(0.3), pk.GeM())


def dtensor() -> None:
    """Batch and channels stay sharded, forward and backward; no plan is taken for another."""
    mesh = init_device_mesh("cpu", (WORLD,))
    x = torch.rand(4, 6, 8, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for placement in (Shard(0), Shard(1), Replicate()):
        for window in WINDOWS:
            for reducer in REDUCERS:
                whole = x.clone().requires_grad_()
                want = pool(whole, window, reducer)
                want.square().sum().backward()
                leaf = distribute_tensor(x, mesh, [placement]).requires_grad_()
                y = pool(leaf, window, reducer)
                assert y.placements == (placement,), (window, reducer, y.placements)
                assert y.shape == want.shape
                torch.testing.assert_close(y.full_tensor(), want)
                y.square().sum().backward()
                assert leaf.grad.placements == (placement,)
                torch.testing.assert_close(leaf.grad.full_tensor(), whole.grad)


def dtensor_pooled_axes() -> None:
    """A sharded pooled axis is gathered, not pooled in parts."""
    mesh = init_device_mesh("cpu", (WORLD,))
    x = torch.rand(2, 3, 8, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for axis in (2, 3):
        y, indices = pool(distribute_tensor(x, mesh, [Shard(axis)]), pk.Sliding(3, 2, 1), pk.Max(), return_indices=True)
        want, wanted = pool(x, pk.Sliding(3, 2, 1), pk.Max(), return_indices=True)
        assert torch.equal(y.full_tensor(), want)
        assert torch.equal(indices.full_tensor(), wanted)


def dtensor_indices_and_unpooling() -> None:
    mesh = init_device_mesh("cpu", (WORLD,))
    x = torch.rand(2, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    for placement in (Shard(0), Shard(1)):
        for size in (2, 3):
            whole = x.clone().requires_grad_()
            want = pk.max_unpool2d(*pk.max_pool2d(whole, size, return_indices=True), size)
            leaf = distribute_tensor(x, mesh, [placement]).requires_grad_()
            got = pk.max_unpool2d(*pk.max_pool2d(leaf, size, return_indices=True), size)
            assert got.placements == (placement,)
            torch.testing.assert_close(got.full_tensor(), want)
            want.square().sum().backward()
            got.square().sum().backward()
            torch.testing.assert_close(leaf.grad.full_tensor(), whole.grad)


def dtensor_learned_weights() -> None:
    """The array beside x may be sharded with the channels; its gradient is whole."""
    mesh = init_device_mesh("cpu", (WORLD,))
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(2, 4, 6, 6, dtype=torch.float64, generator=generator)
    for reducer, shape in ((pk.Filter((1.0,) * 4), (4, 4)), (pk.GeM(), (4, 1, 1)), (pk.Ordinal((1.0,) * 4), (1, 4))):
        extra = torch.rand(shape, dtype=torch.float64, generator=generator) + 0.5
        beside = extra.clone().requires_grad_()
        want = pool(x, pk.Sliding(2), reducer, extra=beside)
        want.square().sum().backward()
        for placement in (Shard(0), Shard(1)):
            learned = distribute_tensor(extra, mesh, [Replicate()]).requires_grad_()
            y = pool(distribute_tensor(x, mesh, [placement]), pk.Sliding(2), reducer, extra=learned)
            torch.testing.assert_close(y.full_tensor(), want)
            y.square().sum().backward()
            torch.testing.assert_close(learned.grad.full_tensor(), beside.grad)


def dtensor_starts() -> None:
    """Windows that start elsewhere in each plane work on whole tensors; one place for all planes is shared."""
    mesh = init_device_mesh("cpu", (WORLD,))
    x = torch.rand(2, 4, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    for window in (pk.Fractional(2, output_ratio=0.6), pk.Fractional(pooling_ratio=1.5, style="tensorflow")):
        want = pool(x, window, pk.Max(), seed=7)
        got = pool(distribute_tensor(x, mesh, [Shard(0)]), window, pk.Max(), seed=7)
        assert torch.equal(got.full_tensor(), want)


STEPS = (
    ddp,
    fsdp,
    dtensor,
    dtensor_pooled_axes,
    dtensor_indices_and_unpooling,
    dtensor_learned_weights,
    dtensor_starts,
)

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rank, store = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=WORLD)
    for step in STEPS:
        try:
            step()
        except Exception:  # noqa: BLE001  the other process goes on, too
            traceback.print_exc()
        else:
            print("done", step.__name__, flush=True)
        dist.barrier()
    dist.destroy_process_group()
