"""Compiles what a call would launch for a GPU that is not here."""

from typing import Any, cast

from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from poolkit.torch.triton import run, small

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}


class Driver:
    """What Triton asks of a device before it compiles for it."""

    def __init__(self, target: GPUTarget) -> None:
        self.target = target

    def get_current_target(self) -> GPUTarget:
        """The one given."""
        return self.target

    def get_current_device(self) -> int:
        """The first of them."""
        return 0

    def get_current_stream(self, _device: int) -> int:
        """The default one."""
        return 0


class Compiler:
    """Takes the place of `poolkit.torch.triton.grid.launch`: all of a launch but its end."""

    def __init__(self, target: str) -> None:
        driver.set_active(cast(Any, Driver(TARGETS[target])))
        run.launch = small.launch = self

    def __call__(self, kernel: Any, programs: int, *values: Any, exact: bool = False, **constants: Any) -> None:
        """Compile this kernel."""
        del constants["like"]
        assert programs > 0
        compiled = kernel.warmup(*values, **constants, enable_fp_fusion=not exact, grid=(programs,))
        self.took(compiled, constants, exact=exact)

    def took(self, compiled: Any, constants: dict[str, Any], *, exact: bool) -> None:
        """What became of a launch; for those who want to know."""
