"""The small part of LaTeX that the catalogue's formulas use, as MathML: real typography with nothing to load."""

from __future__ import annotations

import re
from html import escape

_WORDS = re.compile(r"\\(text|textrm|mathrm|operatorname)\s*\{([^{}]*)\}")
_TOKEN = re.compile(
    r"\\(?:text|textrm|mathrm|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\s+|.", re.DOTALL
)

_IDENTIFIERS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "varepsilon": "ε", "lambda": "λ",
    "mu": "μ", "sigma": "σ", "tau": "τ", "theta": "θ", "omega": "ω", "Omega": "Ω", "pi": "π", "infty": "∞",
    "ell": "ℓ",
}  # fmt: skip
_OPERATORS = {
    "sum": "∑", "prod": "∏", "cdot": "⋅", "times": "×", "in": "∈", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥",
    "ne": "≠", "neq": "≠", "to": "→", "lvert": "|", "rvert": "|", "vert": "|", "lVert": "‖", "rVert": "‖", "mid": "|",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "ldots": "…", "dots": "…", "cdots": "⋯", "approx": "≈",
    "partial": "∂", "pm": "±", "equiv": "≡", "sim": "∼", "{": "{", "}": "}", "|": "‖",
}  # fmt: skip
_FUNCTIONS = frozenset({"max", "min", "log", "ln", "exp", "sup", "inf", "lim", "arg", "argmax", "argmin", "median"})
_LIMITS = frozenset({"sum", "prod", "max", "min", "sup", "inf", "lim", "argmax", "argmin"})
_SPACES = {",": "0.17em", ":": "0.22em", ";": "0.28em", "quad": "1em", "qquad": "2em", " ": "0.25em", "!": "0"}
_FENCES = {"left": "right", "bigl": "bigr", "Bigl": "Bigr", "biggl": "biggr", "Biggl": "Biggr"}
_IGNORED = frozenset({"displaystyle", "limits"})


class UnknownLatexError(ValueError):
    """The formula uses a command this translator does not know."""


def to_mathml(latex: str) -> str:
    """One display formula. Raises `UnknownLatexError` instead of dropping what it does not know.

    >>> to_mathml("x^2")
    '<math display="block"><msup><mi>x</mi><mn>2</mn></msup></math>'
    """
    pieces = [piece for piece in _TOKEN.findall(latex.strip()) if not piece.isspace()]
    body = _Reader(pieces, latex).row(until=None)
    return f'<math display="block">{body}</math>'


class _Reader:
    def __init__(self, pieces: list[str], latex: str) -> None:
        self.pieces = pieces[::-1]
        self.latex = latex

    def row(self, until: str | None) -> str:
        parts: list[str] = []
        while self.pieces:
            if self.pieces[-1] == until:
                self.pieces.pop()
                return "".join(parts)
            parts.append(self.scripted())
        if until is not None:
            raise UnknownLatexError(f"no closing {until} in {self.latex}")
        return "".join(parts)

    def scripted(self) -> str:
        """An atom with what hangs on it."""
        name = self.pieces[-1].lstrip("\\")
        base = self.atom()
        scripts: dict[str, str] = {}
        while self.pieces and self.pieces[-1] in {"^", "_"}:
            kind = self.pieces.pop()
            scripts[kind] = self.argument()
        if not scripts:
            return base
        below, above = ("munder", "mover") if name in _LIMITS else ("msub", "msup")
        if len(scripts) == 2:
            both = "munderover" if name in _LIMITS else "msubsup"
            return f"<{both}>{base}{scripts['_']}{scripts['^']}</{both}>"
        tag = below if "_" in scripts else above
        return f"<{tag}>{base}{next(iter(scripts.values()))}</{tag}>"

    def argument(self) -> str:
        if not self.pieces:
            raise UnknownLatexError(f"an argument is missing in {self.latex}")
        return self.atom()

    def atom(self) -> str:
        piece = self.pieces.pop()
        if piece == "{":
            inner = self.row(until="}")
            return f"<mrow>{inner}</mrow>"
        if words := _WORDS.fullmatch(piece):
            return _words(words[1], words[2])
        if piece.startswith("\\"):
            return self.command(piece[1:])
        if piece[0].isdigit():
            return f"<mn>{piece}</mn>"
        if piece.isalpha():
            return f"<mi>{piece}</mi>"
        if piece in "()[]|":
            return f'<mo stretchy="false">{piece}</mo>'
        return f"<mo>{escape('−' if piece == '-' else piece)}</mo>"

    def fence(self) -> str:
        """A bracket as tall as what it holds; a full stop stands for none."""
        if not self.pieces:
            raise UnknownLatexError(f"a bracket is missing in {self.latex}")
        piece = self.pieces.pop()
        sign = _OPERATORS.get(piece[1:], "") if piece.startswith("\\") else piece
        return "" if sign == "." else f'<mo stretchy="true">{escape(sign)}</mo>'

    def command(self, name: str) -> str:
        match name:
            case "frac" | "dfrac" | "tfrac":
                return f"<mfrac>{self.argument()}{self.argument()}</mfrac>"
            case "sqrt":
                if self.pieces and self.pieces[-1] == "[":
                    self.pieces.pop()
                    degree = self.row(until="]")
                    return f"<mroot>{self.argument()}<mrow>{degree}</mrow></mroot>"
                return f"<msqrt>{self.argument()}</msqrt>"
            case _ if name in _FENCES:
                opening = self.fence()
                inner = self.row(until="\\" + _FENCES[name])
                return f"<mrow>{opening}{inner}{self.fence()}</mrow>"
            case _ if name in _IDENTIFIERS:
                return f"<mi>{_IDENTIFIERS[name]}</mi>"
            case _ if name in _OPERATORS:
                stretchy = ' stretchy="false"' if _OPERATORS[name] in "|‖⌊⌋⌈⌉{}" else ""
                return f"<mo{stretchy}>{_OPERATORS[name]}</mo>"
            case _ if name in _FUNCTIONS:
                movable = ' movablelimits="false"' if name in _LIMITS else ""
                return f'<mo{movable} lspace="0" rspace="0.17em">{name}</mo>'
            case _ if name in _SPACES:
                return f'<mspace width="{_SPACES[name]}"/>'
            case _ if name in _IGNORED:
                return self.scripted() if self.pieces else ""
            case _:
                raise UnknownLatexError(f"\\{name} in {self.latex}")


def _words(command: str, text: str) -> str:
    if command in {"text", "textrm"}:
        return f"<mtext>{escape(text)}</mtext>"
    return f'<mi mathvariant="normal">{escape(text.strip())}</mi>'
