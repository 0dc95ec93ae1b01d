"""How thoroughly the goals are measured."""

from dataclasses import dataclass
from pathlib import Path

from poolkit.bench.measure import Result, Settings, measure
from poolkit.bench.rows import Row


@dataclass(frozen=True)
class Effort:
    """Seconds of measuring a row, whether to look at a cross-section alone, and a saved run to read instead of one."""

    seconds: float = 1.0
    quick: bool = False
    run: Path | None = None

    def timed(self, rows: list[Row], peers: tuple[str, ...], **settings: object) -> list[Result]:
        """Every row with these contestants, behind a progress bar."""
        from rich.progress import track

        chosen = Settings(seconds=self.seconds, peers=peers, **settings)
        return [measure(row, chosen) for row in track(rows, description="layers", transient=True)]
