"""The command ``poolkit``: only the door; the commands are in `poolkit.show.commands`."""

from __future__ import annotations

import sys

_NEEDED = frozenset({"typer", "rich", "click", "shellingham"})


def main() -> None:
    """Run the command line; exit status 2 for anything the user can put right."""
    try:
        from poolkit.show.commands import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write(f"poolkit's command line needs {error.name}\ndo this   pip install 'poolkit[show]'\n")
        sys.exit(2)
    app()


if __name__ == "__main__":
    main()
