"""Pages that exist in English and Chinese: their examples run, their links lead somewhere, and both show the same."""

import re
from pathlib import Path

import pytest
from test_readme import ROOT, blocks

TWINS = sorted((ROOT / "docs").glob("*.zh-CN.md"))
# Those made from the catalogue have no examples, and a test of their own.
PAGES = [path.with_name(path.name.replace(".zh-CN", "")) for path in TWINS if path.stem != "choosing.zh-CN"]
NEEDED = {"jax": ("jax", "flax", "equinox"), "numpy": ("dask",)}  # else torch: the others are about poolkit.nn
BOTH = [page for english in PAGES for page in (english, english.with_suffix(".zh-CN.md"))]


def test_there_are_pages():
    assert PAGES


@pytest.mark.parametrize("page", BOTH, ids=lambda path: path.name)
def test_examples_run(page: Path) -> None:
    for package in NEEDED.get(page.name.split(".")[0], ("torch",)):
        pytest.importorskip(package, reason="the page's examples are about it")
    names: dict[str, object] = {}
    assert blocks(page, "python")
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("page", BOTH, ids=lambda path: path.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("english", PAGES, ids=lambda path: path.name)
def test_both_languages_show_the_same(english: Path) -> None:
    chinese = english.with_suffix(".zh-CN.md")
    assert blocks(english, "python") == blocks(chinese, "python")

    def outline(page: Path) -> list[str]:
        return [line.split(" ")[0] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#")]

    def names(page: Path) -> list[str]:
        return re.findall(
            r"`[^`\n]+`", "\n".join(re.findall(r"^\|.*$", page.read_text(encoding="utf-8"), re.MULTILINE))
        )

    assert outline(english) == outline(chinese)
    assert names(english) == names(chinese)
