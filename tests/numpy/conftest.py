"""The tests of dask arrays need dask and zarr, and are left out where they are not installed."""

import importlib.util

collect_ignore_glob = [] if all(map(importlib.util.find_spec, ("dask", "zarr"))) else ["test_dask.py"]
