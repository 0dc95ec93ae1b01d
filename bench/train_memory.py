"""``python -m bench.train_memory``: what a training step of ResNet-18 keeps, with torch's poolings and with poolkit's.

Each contestant runs in a process of its own: bytes saved for the backward pass (storages, counted once, parameters
left out) at the end of the forward pass, those saved by the pooling alone, and the process's peak of resident memory.
"""

import argparse
import json
import subprocess
import sys

import torch
from torch import Tensor, nn

import poolkit as pk
from bench.resident import peak_bytes
from poolkit.lab.models.resnet import ResNet18

CONTESTANTS = ("torch", "poolkit")


def saved_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes of all storages that one forward pass keeps for its backward pass, but those of parameters and buffers."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(x).sum()  # held, so that no storage's place is taken by another
    total = sum(kept.values())
    loss.backward()
    return total


def measure(contestant: str, batch: int, side: int) -> dict[str, int]:
    """Bytes saved, bytes saved by the stem's pooling, and peak resident bytes of this process."""
    torch.manual_seed(0)
    model = ResNet18().train()
    if contestant == "poolkit":
        pk.accelerate(model, only_faster=False, quiet=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(batch, 3, side, side)
    saved = saved_bytes(model, x)
    maps = torch.randn(batch, 64, side // 2, side // 2).relu()
    pooled = saved_bytes(model.maxpool, maps.requires_grad_())
    del maps
    for _ in range(2):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
    peak = peak_bytes()
    return {"saved": saved, "pooling": pooled, "peak_rss": peak}


def main() -> int:
    """Print one line a contestant and the differences."""
    parser = argparse.ArgumentParser(prog="python -m bench.train_memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--only", choices=CONTESTANTS, help="measure one in this process, and print JSON")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measure(given.only, given.batch, given.side)))
        return 0
    found: dict[str, dict[str, int]] = {}
    for name in CONTESTANTS:
        command = [sys.executable, "-m", "bench.train_memory", "--only", name]
        command += ["--batch", str(given.batch), "--side", str(given.side)]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"ResNet-18, one training step, {given.batch}x3x{given.side}x{given.side}, float32; MB")
    print(f"{'':8} {'saved':>10} {'by the pooling':>15} {'peak RSS':>10}")
    for name, row in found.items():
        print(f"{name:8} {row['saved'] / 1e6:10.1f} {row['pooling'] / 1e6:15.1f} {row['peak_rss'] / 1e6:10.1f}")
    less = {key: found["torch"][key] - found["poolkit"][key] for key in found["torch"]}
    print(f"{'less':8} {less['saved'] / 1e6:10.1f} {less['pooling'] / 1e6:15.1f} {less['peak_rss'] / 1e6:10.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
