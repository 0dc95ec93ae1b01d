"""The pages of docs/studies say what their journals hold."""

import importlib.util
import re
from pathlib import Path

import pytest

from poolkit.lab.journal import Journal

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "studies").glob("*.md"))


@pytest.fixture(scope="module")
def make_studies():
    spec = importlib.util.spec_from_file_location("make_studies", ROOT / "tools" / "make_studies.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_and_plots_are_those_of_the_journals(make_studies):
    assert PAGES
    assert [str(path) for path in make_studies.stale()] == [], "run python tools/make_studies.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_command_on_the_page_is_the_one_that_ran(page):
    text = page.read_text("utf-8")
    journal = Journal.read(page.with_suffix(""))
    assert len(journal.records) == len(journal.spec.trials())
    shown = re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1].replace("\\\n", " ").split()
    for record in journal.records:
        asked = record["command"].split()
        options = dict(zip(asked[2::2], asked[3::2], strict=True))
        for name, value in options.items():
            if name not in {"--out", "--seeds", "--workers"}:
                assert shown[shown.index(name) + 1] == value
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / link).exists(), link
