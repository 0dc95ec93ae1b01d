"""Numbers as people read them."""

from __future__ import annotations

import math


def shape_text(shape: tuple[int, ...]) -> str:
    """Sides with a multiplication sign between them."""
    return " × ".join(str(side) for side in shape)


def bytes_text(count: int) -> str:
    """Three digits and a decimal unit."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "B" else f"{count} B"
        size /= 1000
    return f"{size:.3g} GB"


def ms_text(ms: float) -> str:
    """Milliseconds, about three digits."""
    return f"{ms:.3f}" if ms < 1 else f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"


def ratio_text(ratio: float) -> str:
    """A factor: one digit after the point below ten."""
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def psnr_text(psnr: float) -> str:
    """Decibels; lossless is infinite."""
    return "∞" if math.isinf(psnr) else f"{psnr:.1f}"


def share_text(share: float) -> str:
    """A share of one in percent."""
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %" if percent >= 0.01 else "< 0.01 %"
