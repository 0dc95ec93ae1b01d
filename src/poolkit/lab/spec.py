"""What a study and each of its trials are, checked before anything runs."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from poolkit.errors import PoolError, show
from poolkit.lab.data import parse as parse_data

Seeds = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Training(BaseModel):
    """How every network of a study is trained and judged: all that its trials have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = "digits"
    size: Annotated[int, Field(ge=8, le=1024)] | None = None
    limit: Annotated[int, Field(ge=2)] | None = None  # training images at most
    model: str = "lenet"
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 15
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    lr: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1e-2
    augment: Literal["none", "shift", "flip", "shift-flip"] = "none"
    probe: Annotated[int, Field(ge=1)] = 500  # test images for the robustness measures
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    device: str = "cpu"
    processes: Annotated[int, Field(ge=1, le=1024)] = 1  # of DistributedDataParallel, for one trial

    @field_validator("data")
    @classmethod
    def _known_data(cls, value: str) -> str:
        return str(parse_data(value))


class Trial(BaseModel):
    """One network: a pooling and a seed, trained as all others of its study are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training
    pool: str
    seed: Seeds
    data_hash: str = ""  # of the data the study began with; a worker with other data refuses

    @property
    def key(self) -> str:
        """What the trial is called in the journal: pooling, seed, and a hash of everything else."""
        common = json.dumps(self.training.model_dump(), sort_keys=True)
        return f"{self.pool}/{self.seed}/{hashlib.sha256(common.encode()).hexdigest()[:8]}"


class StudySpec(BaseModel):
    """A comparison: every pooling with every seed. The first pooling is what the others are compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training()
    pools: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Seeds, ...], Field(min_length=1)]

    @field_validator("pools")
    @classmethod
    def _known_pools(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from poolkit.lab.poolings import parse

        return tuple(dict.fromkeys(str(parse(text)) for text in value))

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(value))

    def trials(self, data_hash: str = "") -> tuple[Trial, ...]:
        """Every pooling with the first seed, then with the second: a study cut short has something of each."""
        return tuple(
            Trial(training=self.training, pool=pool, seed=seed, data_hash=data_hash)
            for seed in self.seeds
            for pool in self.pools
        )


def study_spec(**given: Any) -> StudySpec:
    """A checked `StudySpec`; `given` are its own fields and those of `Training`.

    Raises:
        PoolError: a value breaks a rule; the message names its option.

    >>> study_spec(pools=["max", "avg"], seeds=[0, 1], epochs=3).training.epochs
    3
    """
    common = {key: value for key, value in given.items() if key in Training.model_fields}
    rest = {key: value for key, value in given.items() if key not in common}
    try:
        return StudySpec.model_validate(rest | {"training": common})
    except ValidationError as error:
        raise refusal(error) from None


def refusal(error: ValidationError) -> PoolError:
    """The first thing that pydantic found, as this library says such things."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, PoolError):
        return cause
    name = next((str(part) for part in reversed(first["loc"]) if isinstance(part, str)), "spec")
    option = {"pools": "--pool", "limit": "--limit"}.get(name, f"--{name.replace('_', '-')}")
    return PoolError(f"{option} {show(first['input'])}", f"{name}: {first['msg'].lower()}", "give another value")
