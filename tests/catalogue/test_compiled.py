"""torch.compile takes each composite module in one graph, for several sizes."""

import pytest
import torch

from poolkit import nn

# Dynamo itself instantiates autograd functions, of which torch warns.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MODULES = [
    nn.GlobalSoftPool2d(),
    nn.AdaptiveMinPool2d(3),
    nn.SpatialPyramidPool2d(),
    nn.SPPF(4, 2),
    nn.PyramidPoolingModule(4),
    nn.StripPool2d(4),
    nn.RMACPool(),
    nn.WildcatPool2d(0.2),
    nn.BlurPool2d(4),
    nn.MaxBlurPool2d(),
    nn.AdaptivePolyphasePool2d(),
    nn.AvgUnpool2d(3, 2, 1),
    nn.AvgUnpool2d(2, padding="same"),
    nn.LIPPool2d(4),
    nn.LIPPool2d(4, logit=torch.nn.Identity()),
    nn.DetailPreservingPool2d(4, "full"),
    nn.GaussianPool2d(4, 2),
    nn.AlphaPool(1.5),
    nn.PowerPool(4),
]


def check(module: torch.nn.Module, *inputs: torch.Tensor) -> None:
    leaves = [x.requires_grad_() if x.is_floating_point() else x for x in inputs]
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    want, got = module(*leaves), compiled(*leaves)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    for result in zip(
        torch.autograd.grad(got.square().sum(), leaves[0]),
        torch.autograd.grad(want.square().sum(), leaves[0]),
        strict=True,
    ):
        torch.testing.assert_close(*result, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
def test_one_graph_for_several_sizes(module):
    torch.compiler.reset()
    module.eval()
    for shape in ((2, 4, 8, 7), (3, 4, 8, 7), (2, 4, 5, 9)):
        check(module, torch.rand(shape))


def test_unpooling_with_a_second_tensor_in_one_graph():
    torch.compiler.reset()
    check(nn.SoftUnpool2d(2), torch.rand(1, 2, 3, 4), torch.rand(1, 2, 6, 9))
    torch.compiler.reset()
    unpool = nn.IndexUnpool2d()
    indices = torch.arange(6).view(1, 1, 2, 3)
    x = torch.rand(1, 1, 2, 3)
    got = torch.compile(lambda y, i: unpool(y, i, (4, 5)), fullgraph=True, backend="aot_eager")(x, indices)
    assert torch.equal(got, unpool(x, indices, (4, 5)))
