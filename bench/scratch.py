"""The most memory that the core holds for itself while it works, counted by valgrind's dhat.

dhat sees every allocation with its stack. Those made by the core's own library are its scratch: arrays that callers see
are NumPy's. The number is what they held together when the whole process held most, and a ballast that lives during the
call alone makes sure that this was during the call.
"""

import json
import sys
import tempfile
from pathlib import Path

import poolkit as pk
from bench.kernel_cases import Case
from bench.valgrind import MissingError, run

LIBRARY = "libpoolkit_core"
BALLAST = 2**26


# Windows and reducers that need most scratch, on planes larger than most caches of a core.
WIDE = (1, 1, 512, 1024)
CASES = {
    "max 3x3/2": Case(WIDE, pk.Sliding(3, 2, 1), pk.Max()),
    "max 63x63/1": Case(WIDE, pk.Sliding(63, 1, 31), pk.Max()),
    "mean 63x63/1": Case(WIDE, pk.Sliding(63, 1, 31), pk.Mean()),
    "soft 31x31/1": Case(WIDE, pk.Sliding(31, 1, 15), pk.Soft()),
    "logsumexp 3x3/1": Case(WIDE, pk.Sliding(3, 1, 1), pk.LogSumExp()),
    "max 5x5x5/1": Case((1, 1, 32, 64, 96), pk.Sliding((5, 5, 5), 1, 2), pk.Max()),
    "median 5x5/1": Case((1, 1, 128, 256), pk.Sliding(5, 1, 2), pk.Median()),
    "max 9x9/1, channels last": Case((1, 64, 64, 256), pk.Sliding(9, 1, 4), pk.Max(), "channels_last"),
    "max 9x9/1 backward": Case(WIDE, pk.Sliding(9, 1, 4), pk.Max(), backward=True),
    "mean 9x9/1 backward": Case(WIDE, pk.Sliding(9, 1, 4), pk.Mean(), backward=True),
    "soft 9x9/1 backward": Case(WIDE, pk.Sliding(9, 1, 4), pk.Soft(), backward=True),
}


def most_scratch(names: list[str]) -> dict[str, int]:
    """Bytes of each case.

    Raises:
        MissingError: there is no valgrind here.
    """
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, int] = {}
        for name in names:
            out = Path(folder) / "dhat.json"
            run("dhat", ["--keep-debuginfo=yes", f"--dhat-out-file={out}"], Path(__file__), name)
            found[name] = held(json.loads(out.read_text(encoding="utf-8")))
        return found


def held(profile: dict) -> int:
    """What the core's library held at the peak. The first frame is the allocator's own.

    Raises:
        MissingError: a place that allocates has no name, so that it may be the core's.
    """
    frames = profile["ftbl"]
    total = 0
    for point in profile["pps"]:
        caller = frames[point["fs"][1]] if len(point["fs"]) > 1 else ""
        if caller.endswith("???") and point["gb"]:
            raise MissingError(f"valgrind does not know which library {caller} is in")
        total += point["gb"] if LIBRARY in caller else 0
    return total


def main(name: str) -> None:
    """The program that valgrind runs."""
    call = CASES[name].call()
    ballast = bytearray(BALLAST)
    call()
    del ballast


if __name__ == "__main__":
    main(sys.argv[1])
