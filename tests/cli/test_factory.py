"""`module:factory` and shapes as they are typed."""

import textwrap

import pytest

pytest.importorskip("torch")

import torch

from poolkit import PoolError
from poolkit.show.factory import load_model, parse_shape

ZOO = """
    import torch

    class Small(torch.nn.Module):
        pass

    class Zoo:
        @staticmethod
        def small():
            return Small()

    ready = Small()
    number = 3

    def needs(argument):
        return Small()

    def nothing():
        return None
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch, request):
    name = f"zoo_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(ZOO))
    (tmp_path / f"{name}_broken.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["elsewhere"])
    return name


@pytest.mark.parametrize("path", ["Small", "Zoo.small", "ready"])
def test_a_factory_a_class_and_a_finished_model(zoo, path):
    model = load_model(f"{zoo}:{path}")
    assert type(model).__name__ == "Small"
    assert isinstance(model, torch.nn.Module)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models", "module:factory"),
        (":factory", "module:factory"),
        ("models:", "module:factory"),
        ("no_such_module:model", "No module named 'no_such_module'"),
        ("{zoo}_broken:model", "a_module_that_nobody_has"),
        ("{zoo}:large", "name one of Small, Zoo, needs, nothing"),
        ("{zoo}:Zoo.large", "here no Zoo.large"),
        ("{zoo}:number", "here number is of type int"),
        ("{zoo}:needs", "missing 1 required positional argument"),
        ("{zoo}:nothing", "here it made one of type NoneType"),
    ],
)
def test_what_is_wrong_is_said(zoo, text, message):
    with pytest.raises(PoolError, match=message):
        load_model(text.format(zoo=zoo))


def test_shapes():
    assert parse_shape("1x3x224x224") == (1, 3, 224, 224)
    assert parse_shape(" 2X5") == (2, 5)
    assert parse_shape("2,5×7") == (2, 5, 7)
    assert parse_shape("12") == (12,)
    for text in ("", "1x", "0x3", "-1x3", "1x3.0", "axb", "1x²"):
        with pytest.raises(PoolError, match="1x3x224x224"):
            parse_shape(text)
