"""What `bench.gate` runs under callgrind: each case once to warm up, then once between two dumps."""

import os
import subprocess
import sys

from bench.kernel_cases import CASES


def dump(label: str) -> None:
    """Ask callgrind to write what it has counted since the last dump, under this label."""
    command = ["callgrind_control", f"--dump={label}", str(os.getpid())]
    subprocess.run(command, check=True, capture_output=True)


def main(numbers: list[int]) -> None:
    """Cases by their place in the table: a dump's label must be one word."""
    names = list(CASES)
    for number in numbers:
        call = CASES[names[number]].call()
        call()
        dump(f"before-{number}")
        call()
        dump(f"case-{number}")


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])))
