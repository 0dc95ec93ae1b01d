"""Model surgery: find the poolings of a torch model, run them by poolkit, replace them by others, and undo it all."""

from poolkit.surgery.acceleration import Verdict, accelerate, restore, survey
from poolkit.surgery.calls import accelerated
from poolkit.surgery.finding import PoolSite, find_pools
from poolkit.surgery.swapping import swap

__all__ = ["PoolSite", "Verdict", "accelerate", "accelerated", "find_pools", "restore", "survey", "swap"]
