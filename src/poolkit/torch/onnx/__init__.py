"""poolkit's operators as graphs of standard ONNX operators; `poolkit.torch.export` puts them into models.

A pooling becomes one of three things. Where ONNX has the pooling and ONNX Runtime computes it right for every input, it
is that operator (`native`). What folds axis by axis, as in the compiled core, takes a few operators an axis (`folds`).
What needs to see a window whole gathers the windows first (`whole`). Nothing is approximated in any of them, and
docs/onnx.md says which form an operator takes.
"""
