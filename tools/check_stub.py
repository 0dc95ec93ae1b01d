"""Checks src/poolkit/_core.pyi against the compiled module.

mypy's stubtest does not see nanobind's functions as functions. nanobind can write a stub of a module by itself, with
every name, argument and default, but ``object`` where an argument is any buffer. So: both must have the same functions
with the same arguments, and every type that nanobind knows must be the one in the stub.
"""

import ast
import sys
from pathlib import Path

from nanobind.stubgen import StubGen

from poolkit import _core

STUB = Path(__file__).resolve().parent.parent / "src" / "poolkit" / "_core.pyi"
Signature = list[tuple[str, str, str]]  # name, default, annotation; the result is last, named "return"


def signatures(source: str) -> dict[str, Signature]:
    """The functions of a stub."""
    found: dict[str, Signature] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        plain = [*node.args.posonlyargs, *node.args.args]
        defaults = [""] * (len(plain) - len(node.args.defaults)) + [ast.unparse(value) for value in node.args.defaults]
        found[node.name] = [
            (argument.arg, default, ast.unparse(argument.annotation) if argument.annotation else "")
            for argument, default in zip(plain, defaults, strict=True)
        ]
        found[node.name].append(("return", "", ast.unparse(node.returns) if node.returns else ""))
    return found


def fits(known: str, written: str) -> bool:
    """Whether the stub's annotation says what nanobind knows; it may say more where nanobind says object or tuple."""
    if known.startswith("object"):
        return known.endswith("| None") == written.endswith("| None")
    return written == known or (known == "tuple" and written.startswith("tuple["))


def complaints() -> list[str]:
    """What differs, as printable lines."""
    generator = StubGen(module=_core, quiet=True)
    generator.put(_core)
    compiled, written = signatures(generator.get()), signatures(STUB.read_text(encoding="utf-8"))
    found = [f"{name}: in the stub, not in the module" for name in written.keys() - compiled.keys()]
    found += [f"{name}: in the module, not in the stub" for name in compiled.keys() - written.keys()]
    for name in compiled.keys() & written.keys():
        truth, stub = compiled[name], written[name]
        if [part[:2] for part in truth] != [part[:2] for part in stub]:
            found.append(f"{name}: arguments {[part[:2] for part in truth]}, in the stub {[part[:2] for part in stub]}")
            continue
        found += [
            f"{name}, {argument}: {known}, in the stub {given}"
            for (argument, _, known), (_, _, given) in zip(truth, stub, strict=True)
            if not fits(known, given)
        ]
    return found


def main() -> int:
    """Print what differs; the exit status says whether anything does."""
    found = complaints()
    for line in found:
        print(f"{STUB.name}: {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
