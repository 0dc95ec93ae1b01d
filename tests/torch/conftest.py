"""These tests need torch, those of the export onnxscript, those of the kernels for GPUs Triton; others are left out."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py", "gpu"]
if not (importlib.util.find_spec("onnxscript") and importlib.util.find_spec("onnxruntime")):
    collect_ignore_glob.append("test_onnx_*.py")
if not importlib.util.find_spec("triton"):
    collect_ignore_glob.append("test_triton.py")
