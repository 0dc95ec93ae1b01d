"""Networks in plain torch whose poolings can be chosen, for comparing them.

Each is built from the channels and size of its images, the number of classes and a pooling, and differs from the
published network only in what shrinks the maps: there stands the pooling.
"""

from __future__ import annotations

from poolkit.lab.models.build import MODELS, Model, build

__all__ = ["MODELS", "Model", "build"]
