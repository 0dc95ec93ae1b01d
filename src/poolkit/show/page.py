"""What all pages share: how templates are loaded, the labels of the switches, and the foot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolkit.show.words import Words

if TYPE_CHECKING:
    from poolkit.show.about import Machine

LABELS = {"language": Words("Language", "语言"), "theme": Words("Colours", "配色")}


def fill(template: str, page: dict[str, Any], *, package: str = "poolkit.show") -> str:
    """A template of `package`, or of `poolkit.show`, filled with `page`."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    packages = dict.fromkeys((package, "poolkit.show"))
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(page=page)


def made_with(about: Machine) -> list[tuple[Words, str]]:
    """What the foot says of this installation."""
    return [
        (Words("Made with", "制作工具"), f"poolkit {about.version}"),
        (Words("Instruction set", "指令集"), about.isa),
        (Words("Processor", "处理器"), about.processor),
        *((Words(name, name), version) for name, version in about.present),
    ]
