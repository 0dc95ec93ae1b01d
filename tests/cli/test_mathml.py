import xml.etree.ElementTree as ET

import pytest

from poolkit.show.mathml import UnknownLatexError, to_mathml


def text(latex):
    return "".join(ET.fromstring(to_mathml(latex)).itertext())


@pytest.mark.parametrize(
    ("latex", "inner"),
    [
        (r"\frac{1}{n}", "<mfrac><mrow><mn>1</mn></mrow><mrow><mi>n</mi></mrow></mfrac>"),
        (r"x_i^p", "<msubsup><mi>x</mi><mi>i</mi><mi>p</mi></msubsup>"),
        (r"\sqrt[p]{x}", "<mroot><mrow><mi>x</mi></mrow><mrow><mi>p</mi></mrow></mroot>"),
        (r"\sum_i x", "<munder><mo>∑</mo><mi>i</mi></munder><mi>x</mi>"),
    ],
)
def test_the_tree_is_right(latex, inner):
    assert to_mathml(latex) == f'<math display="block">{inner}</math>'


def test_words_keep_their_spaces_and_are_escaped():
    assert text(r"\text{a < b} x") == "a < bx"


@pytest.mark.parametrize("latex", [r"\unheard{x}", r"\frac{1}", "{x", "x^", r"\sqrt[p"])
def test_what_it_does_not_know_is_refused(latex):
    with pytest.raises(UnknownLatexError):
        to_mathml(latex)


def test_brackets_grow_with_what_they_hold():
    tree = ET.fromstring(to_mathml(r"\left( \sum_i x_i^p \right)^{1/p}"))
    assert tree[0].tag == "msup"
    assert [child.get("stretchy") for child in tree[0][0] if child.text in {"(", ")"}] == ["true", "true"]
