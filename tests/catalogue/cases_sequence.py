"""Cases of poolings of sequences and segments."""

from __future__ import annotations

import numpy as np
from cases import Case

from poolkit import nn
from poolkit.nn.sequence import MaskedPool
from poolkit.reference import sequence as oracle

_rng = np.random.default_rng(12)
MASK = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
IDS = np.array([3, 0, 3, 1, 0, 3, 5, 5])


def draw(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape)


def _masked(mode: str) -> list[Case]:
    def run(state, x, real=None):
        return oracle.masked_pool(x, real, mode)

    # One element has a deviation of 0, where no difference quotient has a limit.
    real = MASK[[0, 1, 2]] if mode == "std" else MASK
    return [
        Case(
            "masked_pool",
            lambda: nn.MaskedPool(mode),
            (draw(len(real), 5, 3), real),
            run,
            others=((draw(2, 7, 4),), (draw(4, 1, 2), MASK[:, :1])),
            label=f"{mode}-masked",
        ),
        Case("masked_pool", lambda: nn.MaskedPool(mode), (draw(2, 5, 3),), run, label=mode),
    ]


def _segments(mode: str, beta: float = 1.0) -> list[Case]:
    def by_ids(state, x, ids, num_segments):
        return oracle.segment_pool(x, ids, num_segments, mode, beta)

    def by_offsets(state, x, offsets):
        return oracle.segment_pool(x, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), len(offsets) - 1, mode)

    cases = [
        Case(
            "segment_pool",
            lambda: nn.SegmentPool(mode, beta=beta),
            (draw(8, 2, 3), IDS),
            by_ids,
            others=((draw(3), np.array([2, 2, 0])), (draw(1, 4), np.array([6]))),
            keywords={"num_segments": 7},
            label=f"{mode}-{beta}",
        )
    ]
    if beta == 1.0:
        cases.append(
            Case(
                "segment_pool",
                lambda: nn.SegmentPool(mode),
                (draw(7, 2),),
                by_offsets,
                keywords={"offsets": np.array([0, 0, 3, 7, 7])},
                label=f"{mode}-offsets",
            )
        )
    return cases


CASES = [
    *(case for mode in MaskedPool.modes for case in _masked(mode)),
    *(case for mode in ("sum", "mean", "max", "min", "var", "std", "softmax") for case in _segments(mode)),
    *_segments("softmax", -3.0),
    Case(
        "k_max_pool",
        lambda: nn.KMaxPool1d(3),
        (draw(2, 4, 7),),
        lambda state, x: oracle.kmax_pool(x, 3),
        others=((draw(4, 3),), (draw(1, 2, 50),), (np.array([[[1.0, 2.0, 1.0, 1.0, 1.0]]]),)),
    ),
    Case(
        "chunk_max_pool",
        lambda: nn.ChunkMaxPool1d(3),
        (draw(2, 4, 8),),
        lambda state, x: oracle.chunk_max_pool(x, 3),
        others=((draw(4, 3),), (draw(1, 2, 10),), (draw(1, 2, 9),)),
    ),
    Case(
        "noisy_or_pool",
        nn.NoisyOrPool,
        (_rng.random((4, 5, 3)), MASK),
        lambda state, p, real=None: oracle.noisy_or(p, real),
        others=((_rng.random((1, 9, 2)),), (np.array([[[1.0, 0.0], [0.3, 0.0]]]),)),
    ),
    Case(
        "noisy_or_pool",
        lambda: nn.NoisyOrPool(from_logits=True),
        (2 * draw(4, 5, 3), MASK),
        lambda state, z, real=None: oracle.noisy_or(1 / (1 + np.exp(-z)), real),
        label="logits",
    ),
    Case(
        "linear_softmax_pool",
        lambda: nn.LinearSoftmaxPool(from_logits=True),
        (2 * draw(4, 5, 3), MASK),
        lambda state, z, real=None: oracle.linear_softmax(1 / (1 + np.exp(-z)), real),
        label="logits",
    ),
    Case(
        "linear_softmax_pool",
        nn.LinearSoftmaxPool,
        (_rng.random((4, 5, 3)), MASK),
        lambda state, p, real=None: oracle.linear_softmax(p, real),
        others=((_rng.random((1, 9, 2)),), (np.array([[[1.0, 0.0], [0.3, 0.0]]]),)),
    ),
]
