import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

import poolkit
from poolkit.catalog import CATALOG, entry
from poolkit.reducer import REDUCERS, Filter, Max, Min
from poolkit.show import picture, report, sheet, study
from poolkit.show.tables import print_study

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(HTMLParser):
    """Collects what the tests ask about, and checks that every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.english, self.chinese, self.ids = [], [], [], [], set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            assert attributes["id"] not in self.ids, "an id occurs twice"
            self.ids.add(attributes["id"])
        if tag not in VOID:
            self.open.append((tag, attributes.get("class", "")))

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        classes = {name for _, names in self.open for name in names.split()}
        if "en" in classes:
            self.english.append(data)
        if "zh" in classes:
            self.chinese.append(data)

    def images(self):
        return [attributes for tag, attributes in self.tags if tag == "img"]


@pytest.fixture(scope="module")
def done(scene_file):
    return study.run(picture.load(scene_file), 4, None, lambda cell: None)


@pytest.fixture(scope="module")
def text(done):
    return report.render(done)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def decode(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    image.load()
    assert image.format == "PNG"
    return image


def test_it_loads_nothing(text, page):
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed"}
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value[:80])
    assert not re.search(r"@import|https?://", text)
    assert all(address.startswith("data:") for address in re.findall(r"url\(([^)]*)\)", text))
    assert "default-src 'none'" in text


def test_every_reducer_meets_every_window(done, page):
    assert {type(operator.reducer) for operator in done.operators} == set(REDUCERS) - {Filter}
    assert len(done.cells) == len(done.operators) * len(done.lenses)
    for operator in done.operators:
        assert operator.key in page.ids
    views = [a for tag, a in page.tags if tag == "div" and a.get("class", "").startswith("view lens-")]
    assert len(views) == len(done.cells) + len(done.lenses)


def test_images_are_png_of_the_right_sizes(done, text, page):
    images = page.images()
    after = [decode(image["src"]) for image in images if image.get("class") == "after"]
    heat = [decode(image["src"]) for image in images if image.get("class") == "heat"]
    thumbs = [decode(image["src"]) for image in images if "class" not in image]
    assert [image.size for image in after] == [cell.y_shape[:1:-1] for cell in done.cells]
    assert {image.size for image in heat} == {(64, 45)}
    assert {image.size for image in thumbs} == {(report.THUMB_WIDTH, round(report.THUMB_WIDTH * 45 / 64))}
    assert len(after) == len(heat) == len(thumbs) == len(done.cells)
    (before,) = set(re.findall(r"url\((data:[^)]*)\)", text))
    assert decode(before).size == (64, 45)


def test_everything_is_said_in_both_languages(page):
    english, chinese = "".join(page.english), "".join(page.chinese)
    for words in ("Before", "After", "Lost", "How to read this page", "Overlap", "Milliseconds"):
        assert words in english
    for words in ("之前", "之后", "丢失", "怎样读这一页", "重叠", "毫秒"):
        assert words in chinese
    assert not re.search(r"[\u4e00-\u9fff]", english)
    # Chinese sentences take full-width punctuation.
    assert not re.search(r"[\u4e00-\u9fff][,;:!?]", chinese)


def test_every_picture_has_words_for_those_who_do_not_see_it(page):
    described = [a for tag, a in page.tags if tag == "img" or a.get("role") == "img"]
    assert described
    for attributes in described:
        said = attributes.get("alt") or attributes.get("aria-label")
        assert said == attributes["data-en"] != ""
        assert re.search(r"[\u4e00-\u9fff]", attributes["data-zh"])


def test_every_control_has_a_label(page):
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    for tag, attributes in page.tags:
        if tag == "input" and attributes["type"] == "radio":
            assert attributes["id"] in labelled


def test_every_link_leads_somewhere(page):
    for tag, attributes in page.tags:
        if tag == "a":
            target, _, lens = attributes["href"][1:].partition("/")
            assert target in page.ids
            assert not lens or f"lens-{lens}" in page.ids


def test_formulas_are_typeset(done, page):
    assert sum(tag == "math" for tag, _ in page.tags) == len(done.operators)


def test_names_are_escaped(scene_file, tmp_path):
    path = tmp_path / '<img src=x onerror=alert(1)>&".png'
    path.write_bytes(scene_file.read_bytes())
    done = study.run(picture.load(path), 20, None, lambda cell: None)
    text = report.render(done)
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;" in text
    Page(text)


def test_what_leaves_the_range_is_rescaled_and_says_so(done, text):
    by_key = {cell.key: cell for cell in done.cells}
    assert by_key["sum-tiles"].gain == 16
    assert by_key["lp-tiles"].gain == pytest.approx(4)
    for cell in done.cells:
        if not cell.gain_is_peak:
            assert cell.rescaled == (cell.operator.key in {"sum", "lp"})
        assert cell.shown.min() >= -1e-4
        assert cell.shown.max() <= 1 + 1e-4
    assert text.count("divided by the answer to an all-white") == 2 * len(done.lenses)


def test_the_mean_of_a_constant_loses_nothing(tmp_path):
    path = tmp_path / "plain.png"
    Image.new("RGB", (32, 32), (255, 51, 0)).save(path)
    done = study.run(picture.load(path), 4, None, lambda cell: None)
    for cell in done.cells:
        assert cell.gain_is_peak or cell.loss.rms < 1e-5, cell.key
    assert sheet.draw(done).startswith(b"\x89PNG")
    Page(report.render(done))


def test_torch_agrees_where_it_has_the_same(done):
    torch = pytest.importorskip("torch")
    from poolkit.show.peers import race

    raced = {
        cell.key: result.torch_name
        for cell in done.cells
        if (result := race(torch, done.picture.x, cell.lens.window, cell.operator.reducer)).torch_ms is not None
    }
    assert {key for key in raced if key.startswith("max")} == {f"max-{lens.key}" for lens in done.lenses}
    assert {"mean-tiles", "mean-overlap", "mean-adaptive", "mean-global", "sum-tiles", "lp-tiles"} <= set(raced)
    assert not any(key.startswith(("min", "soft", "lse", "rms", "power")) for key in raced)


class LoudestOfThemAll(Max):
    """A reducer that the report has never heard of."""


class Spread(Max):
    """One whose answer to an even picture is 0."""


def test_a_new_reducer_joins_and_an_entry_without_one_does_not_matter(scene_file, monkeypatch, capsys):
    def pool(x, window, reducer):
        y = true_pool(x, window, Max())
        return y - true_pool(x, window, Min()) if isinstance(reducer, Spread) else y

    true_pool = poolkit.pool
    rows = [replace(entry("max_pool"), name=kind.__name__.lower(), reducer=kind) for kind in (LoudestOfThemAll, Spread)]
    rows.append(replace(entry("max_pool"), name="module", reducer=None, window=None, family="attention"))
    monkeypatch.setattr(study, "CATALOG", (*rows[::-1], *CATALOG))
    monkeypatch.setattr(study, "REDUCERS", (*REDUCERS, LoudestOfThemAll, Spread))
    monkeypatch.setattr(poolkit, "pool", pool)
    done = study.run(picture.load(scene_file), 4, None, lambda cell: None)
    assert {operator.key for operator in done.operators} >= {"loudestofthemall", "spread", "max"}
    peaks = [cell for cell in done.cells if cell.gain_is_peak]
    assert {cell.operator.key for cell in peaks} == {"spread"}
    for cell in peaks:
        assert cell.shown.min() >= 0
        assert cell.shown.max() == pytest.approx(1)
    text = report.render(done)
    Page(text)
    assert text.count("divided by the largest of them") == len(done.lenses)
    assert sheet.draw(done).startswith(b"\x89PNG")
    monkeypatch.setenv("COLUMNS", "80")
    print_study(done, "en")
    table = capsys.readouterr().out
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= 80
