"""The pages that are made from the catalogue: they agree with it, their links lead somewhere, new entries join."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest

from poolkit.catalog import CATALOG, FAMILIES, entry

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs" / "operators").glob("*.md"), *(ROOT / "docs").glob("choosing*.md")])


@pytest.fixture(scope="module")
def make_docs():
    pytest.importorskip("PIL", reason="pictures need Pillow")
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "tools" / "make_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_pages_and_pictures_are_those_of_the_catalogue(make_docs):
    stale = [str(path.relative_to(ROOT)) for path in make_docs.stale()]
    assert stale == [], "run make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert links
    assert [link for link in links if not (page.parent / link).is_file()] == []
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert re.search(rf"^#+ {anchor}$", text, re.MULTILINE), anchor


def test_a_new_entry_of_either_kind_flows_in(make_docs, monkeypatch):
    module = replace(
        entry("max_pool"), name="new_pool", family=FAMILIES[-1], reducer=None, window=None, modules=("NewPool",)
    )
    function = replace(entry("max_pool"), name="newer_pool")
    monkeypatch.setattr(make_docs, "CATALOG", (*CATALOG, module, function))
    made = {path.name: path for path in make_docs.stale()}
    assert set(made) == {
        "new_pool.md",
        "newer_pool.md",
        "newer_pool.png",
        "README.md",
        "choosing.md",
        "choosing.zh-CN.md",
    }
    text = make_docs.page(module)
    assert "poolkit.nn.NewPool" in text
    assert "images/" not in text


def test_a_page_whose_entry_is_gone_goes(make_docs, monkeypatch):
    monkeypatch.setattr(make_docs, "CATALOG", CATALOG[1:])
    found = make_docs.stale()
    assert [path.name for path, data in found.items() if data is None] == [
        f"{CATALOG[0].name}.md",
        f"{CATALOG[0].name}.png",
    ]


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("2**24 cells", r"2\*\*24 cells"),
        ("x[i] < n", r"x\[i\] \< n"),
        ("count_include_pad and _x", r"count_include_pad and \_x"),
        ("`a_*b` * c", r"`a_*b` \* c"),
    ],
)
def test_text_shows_as_it_is_written(make_docs, text, markdown):
    assert make_docs.prose(text) == markdown


def test_formulas_avoid_what_github_does_not_show(make_docs):
    assert make_docs.github_latex(r"\operatorname{top}_k \{x\} < a * \|b\|") == (
        r"\mathrm{top}_k \lbrace x\rbrace  \lt  a \ast  \Vert b\Vert "
    )
    for row in CATALOG:
        assert not re.search(r"\\operatorname|\\[,:;!{}|\\ ]|[<>*]", make_docs.github_latex(row.latex)), row.name
