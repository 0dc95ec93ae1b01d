"""Data sets by one string: ``digits``, ``shapes``, ``cifar10:PATH``, ``mnist:PATH``, ``folder:PATH``, ``npz:PATH`` ...

>>> from poolkit.lab.data import load
>>> digits = load("digits")
>>> digits.train.x.shape, digits.test.x.shape, digits.task
((1438, 1, 8, 8), (359, 1, 8, 8), 'classification')
"""

from __future__ import annotations

from poolkit.lab.data.dataset import Dataset, Split
from poolkit.lab.data.spec import KINDS, DataSpec, load, parse

__all__ = ["KINDS", "DataSpec", "Dataset", "Split", "load", "parse"]
