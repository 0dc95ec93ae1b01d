"""A sentence in the two languages the report speaks."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """English and Chinese (written by hand, not translated by machine)."""

    en: str
    zh: str

    def say(self, lang: str) -> str:
        """The sentence in "zh", else in English."""
        return self.zh if lang == "zh" else self.en
