"""These tests need torch, those of the export onnxscript, too, and are left out where it is not installed."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
if not (importlib.util.find_spec("onnxscript") and importlib.util.find_spec("onnxruntime")):
    collect_ignore_glob.append("test_onnx_*.py")
