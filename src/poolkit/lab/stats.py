"""What the differences between poolings are worth: intervals, pairs by seed, corrected probabilities, noise."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import stats

from poolkit.lab.measures import Measure, value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 9999

Records = Sequence[Mapping[str, Any]]
Verdict = Literal["better", "worse", "not told apart"]


@dataclass(frozen=True)
class Interval:
    """The 95 % bootstrap interval of a mean."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` lies in it, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Estimate:
    """The mean of a measure over the seeds of one pooling; no interval from a single seed."""

    pool: str
    values: tuple[float, ...]
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Difference:
    """One pooling minus the reference, seed by seed. `p` is None where there are fewer than two common seeds."""

    pool: str
    reference: str
    mean: float
    interval: Interval | None
    p: float | None
    p_holm: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Best:
    """The pooling with the best mean, the share of resamples in which it stays the best, and who may be as good."""

    pool: str
    mean: float
    share: float
    rivals: tuple[str, ...]


def interval(values: Sequence[float]) -> Interval | None:
    """The bias-corrected and accelerated bootstrap interval of the mean (Efron, 1987); None for a single value.

    >>> interval([0.5, 0.5, 0.5])
    Interval(low=0.5, high=0.5)
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return None
    if np.ptp(sample) == 0:
        return Interval(float(sample[0]), float(sample[0]))
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # Two equal halves leave the acceleration undefined: the plain percentiles remain.
            warnings.simplefilter("ignore")
            found: Any = stats.bootstrap(
                (sample,), np.mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval  # fmt: skip
        if math.isfinite(found.low) and math.isfinite(found.high):
            return Interval(float(found.low), float(found.high))
    raise AssertionError("percentiles of finite numbers are finite")


def paired_p(differences: Sequence[float]) -> float | None:
    """The two-sided p of a paired t test; None for a single pair.

    A measure that is the same for every seed, such as the number of parameters, is known exactly: p is 0 or 1.

    >>> paired_p([2.0, 2.0, 2.0]), paired_p([0.0, 0.0])
    (0.0, 1.0)
    """
    sample = np.asarray(differences, dtype=np.float64)
    if len(sample) < 2:
        return None
    if np.ptp(sample) == 0:
        return 1.0 if sample[0] == 0 else 0.0
    found: Any = stats.ttest_1samp(sample, 0.0)
    return float(found.pvalue)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Probabilities corrected for their number by Holm's step-down (1979); None stays None.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((index for index, p in enumerate(ps) if p is not None), key=lambda index: ps[index] or 0.0)
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * (ps[index] or 0.0)))
        corrected[index] = largest
    return corrected


def table(records: Records, key: str) -> dict[str, dict[int, float]]:
    """The values of one measure by pooling and seed; trials without it are left out."""
    found: dict[str, dict[int, float]] = {}
    for record in records:
        if "metrics" in record and (value := value_of(record, key)) is not None:
            found.setdefault(record["pool"], {})[record["seed"]] = value
    return found


def estimates(records: Records, key: str) -> list[Estimate]:
    """The mean of each pooling with its interval, in the order of the records."""
    made: list[Estimate] = []
    for pool, by_seed in table(records, key).items():
        values = tuple(by_seed[seed] for seed in sorted(by_seed))
        made.append(Estimate(pool, values, float(np.mean(values)), interval(values)))
    return made


def differences(records: Records, measure: Measure, reference: str) -> list[Difference]:
    """Every other pooling minus `reference`, paired by seed, with Holm's correction over all of them.

    A difference counts as better or worse only if its corrected p is below 0.05 and its interval leaves 0 out: with few
    seeds bootstrap intervals are too narrow, and p alone says nothing of size.
    """
    values = table(records, measure.key)
    base = values.pop(reference, {})
    pairs = {
        pool: [row[seed] - base[seed] for seed in sorted(row.keys() & base.keys())] for pool, row in values.items()
    }
    pairs = {pool: found for pool, found in pairs.items() if found}
    raw = [paired_p(found) for found in pairs.values()]
    made: list[Difference] = []
    for (pool, found), p, corrected in zip(pairs.items(), raw, holm(raw), strict=True):
        mean, around = float(np.mean(found)), interval(found)
        told = corrected is not None and corrected < 1 - CONFIDENCE and around is not None and not around.holds(0.0)
        better = (mean > 0) == (measure.better == "higher")
        verdict: Verdict = "not told apart" if not told else "better" if better else "worse"
        made.append(Difference(pool, reference, mean, around, p, corrected, verdict))
    return made


def noise_floor(records: Records, key: str) -> float | None:
    """How far two networks that differ in their seed alone lie apart: within this in 95 % of cases.

    From the spread over seeds inside each pooling, pooled over all: 1.96 sqrt(2) s. None without two seeds of any.
    """
    groups = [list(row.values()) for row in table(records, key).values() if len(row) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    spread = math.sqrt(sum(float(np.var(group)) * len(group) for group in groups) / freedom)
    return float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * math.sqrt(2) * spread


def best(records: Records, measure: Measure) -> Best | None:
    """The pooling with the best mean over the seeds that all have, and how often resampled seeds say the same."""
    values = table(records, measure.key)
    ran = [set(row) for row in values.values()]
    seeds = sorted(ran[0].intersection(*ran[1:])) if ran else []
    if not seeds:
        return None
    sign = 1.0 if measure.better == "higher" else -1.0
    names = list(values)
    grid: NDArray[np.float64] = sign * np.array([[values[name][seed] for seed in seeds] for name in names])
    first = int(grid.mean(axis=1).argmax())
    drawn = np.random.default_rng(0).integers(0, len(seeds), (RESAMPLES, len(seeds)))
    means = grid[:, drawn].mean(axis=2)
    share = float((means[first] >= means.max(axis=0)).mean())
    others = differences(records, measure, names[first])
    rivals = tuple(row.pool for row in others if row.verdict == "not told apart")
    return Best(names[first], float(sign * grid[first].mean()), share, rivals)


def failures(records: Records) -> tuple[Mapping[str, Any], ...]:
    """Trials whose training failed."""
    return tuple(itertools.filterfalse(lambda record: "metrics" in record, records))
