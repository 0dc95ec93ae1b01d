"""The command ``poolkit``: only the door; `poolkit.show`, `poolkit.bench` and `poolkit.lab` hold the commands."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line; exit status 2 for anything the user can put right."""
    missing = [package for package in ("typer", "rich") if find_spec(package) is None]
    if missing:
        names = " and ".join(missing)
        sys.stderr.write(f"poolkit's command line needs {names}\ndo this   pip install 'poolkit[show]'\n")
        sys.exit(2)
    from poolkit.bench.command import app
    from poolkit.lab.commands import app as lab

    app.add_typer(lab)
    app()


if __name__ == "__main__":
    main()
