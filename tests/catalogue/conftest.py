"""These tests need torch, those of the export onnxscript, too, and are left out where it is not installed."""

import importlib.util

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
if not (importlib.util.find_spec("onnxscript") and importlib.util.find_spec("onnxruntime")):
    collect_ignore_glob.append("test_onnx_*.py")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tensors of a few cells on several threads wait for each other a hundred times longer than they compute."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
