"""Measures poolkit against its peers on the pooling layers of real networks; ``python -m bench.run --help``."""
