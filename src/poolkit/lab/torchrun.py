"""What each process of ``torchrun`` does for a trial: ``python -m torch.distributed.run -m poolkit.lab.torchrun``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from torch import distributed

from poolkit.lab import trial as trials
from poolkit.lab.spec import Trial


def main(given: Path, made: Path) -> None:
    """Train the trial in `given` together with the other processes; the first writes its record to `made`."""
    asked = json.loads(given.read_text("utf-8"))
    trial = Trial.model_validate(asked["trial"])
    distributed.init_process_group("nccl" if trial.training.device.startswith("cuda") else "gloo")
    try:
        alone = trial.model_copy(update={"training": trial.training.model_copy(update={"processes": 1})})
        record = trials.run(alone, asked["command"], asked["backend"])
        if distributed.get_rank() == 0:
            record |= {"key": trial.key, "training": trial.training.model_dump()}
            record["environment"]["processes"] = trial.training.processes
            made.write_text(json.dumps(record), "utf-8")
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
