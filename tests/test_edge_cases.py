"""Every row of data/edge_cases.json that NumPy arrays can ask: how pooling broke elsewhere, and what happens here."""

from __future__ import annotations

import pytest
from edge_cases import NOT_APPLICABLE, ROWS, check, crashed
from support import in_process


def _rows(crash):
    for name, row in ROWS.items():
        if name not in NOT_APPLICABLE and crashed(row) == crash:
            yield pytest.param(name, marks=[pytest.mark.heavy] if "heavy" in row else [])


def test_every_row_is_accounted_for():
    """A row runs, or stands in the table with a reason: none is dropped silently."""
    assert len(ROWS) == 176
    assert set(NOT_APPLICABLE) <= set(ROWS)
    assert len(NOT_APPLICABLE) == 15
    assert all(NOT_APPLICABLE.values())


@pytest.mark.parametrize("name", list(_rows(crash=False)))
def test_row(name):
    check(name)


@pytest.mark.parametrize("name", list(_rows(crash=True)))
def test_row_that_crashed_or_hung_elsewhere(name):
    """In its own process, with limits on time and memory."""
    heavy = "heavy" in ROWS[name]
    in_process(
        f"import edge_cases; edge_cases.check({name!r})", seconds=900 if heavy else 20, gigabytes=64 if heavy else 6
    )
