"""The READMEs: their examples run, their links lead somewhere, and both languages say the same."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
READMES = pytest.mark.parametrize("readme", [ENGLISH, CHINESE], ids=lambda path: path.name)


def blocks(readme: Path, language: str) -> list[str]:
    """The fenced blocks of one language, without comments."""
    found = re.findall(rf"^```{language}\n(.*?)^```", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(r" *#.*", "", block) for block in found]


@READMES
def test_examples_run(readme: Path) -> None:
    pytest.importorskip("torch", reason="the second example is about torch.nn")
    names: dict[str, object] = {}
    for block in blocks(readme, "python"):
        exec(compile(block, readme.name, "exec"), names)
    assert "y" in names


@READMES
def test_links_lead_to_files(readme: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", readme.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("language", ["python", "sh"])
def test_both_languages_show_the_same_code(language: str) -> None:
    assert blocks(ENGLISH, language)
    assert blocks(ENGLISH, language) == blocks(CHINESE, language)


def test_both_languages_have_the_same_parts() -> None:
    def outline(readme: Path) -> list[str]:
        lines = readme.read_text(encoding="utf-8").splitlines()
        return [line.split(" ")[0] for line in lines if line.startswith("#")]

    def names(readme: Path) -> list[str]:
        table = re.findall(r"^\| \*\*.*$", readme.read_text(encoding="utf-8"), re.MULTILINE)
        return re.findall(r"`[^`]+`", "\n".join(table))

    assert outline(ENGLISH) == outline(CHINESE)
    assert names(ENGLISH) == names(CHINESE)
