"""These tests need Keras; those in `each` run in a process for each of its back ends, started by test_back_ends.py."""

import importlib.util
import os

collect_ignore_glob = [] if importlib.util.find_spec("keras") else ["test_*.py"]
if not os.environ.get("POOLKIT_EACH_BACK_END"):
    collect_ignore_glob.append("each/*")
