"""Mathematics of docstrings, written as plain text, as MathML: browsers show it without a script or a network.

`formulas` finds the formulas in a text, `latex` translates one, and `latex2mathml` draws it. A formula is a run of
words that are made of symbols, numbers and operators only, with at least one sign that prose does not have: an index,
a power, a relation, a call such as p(x), or a letter that is no word.
"""

import io
import re
from importlib.resources import files

from fontTools import subset
from fontTools.ttLib import TTFont
from latex2mathml.converter import convert

GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "eps", "eta", "theta", "lambda", "mu", "nu", "phi", "pi", "psi",
    "rho", "sigma", "tau",
}  # fmt: skip
UPRIGHT = {
    "KL", "JSD", "SNR", "NADE", "softmax", "sigmoid", "logit", "relu", "cell", "conv", "merge", "tr", "sg", "levels",
}  # fmt: skip
FUNCTIONS = {"log", "exp", "tanh", "det"}  # LaTeX has a command for each
LIMITS = {"sum": r"\sum", "prod": r"\prod", "int": r"\int", "min": r"\min", "max": r"\max"}
LETTERS = "aAI"  # words of prose as well
OPERATORS = {
    "...": r"\ldots ",
    "..": r"\ldots ",
    "->": r"\to ",
    "<=": r"\le ",
    ">=": r"\ge ",
    "||": r"\,\|\,",
    "~": r"\sim ",
    "*": r"\ast ",
    " | ": r"\mid ",
    " . ": r"\odot ",
}
NAMES = sorted((*GREEK, *UPRIGHT, *FUNCTIONS, "sqrt", "grad"), key=len, reverse=True)
SCRIPTED = "[a-z]{2,}(?=_(?:[a-z0-9](?![A-Za-z0-9_])|\\{))"  # signal_t, but no name of code
SYMBOL = rf"(?<![A-Za-z])(?:{'|'.join(NAMES)}|{SCRIPTED}|d?[A-Za-z])(?![A-Za-z])"
LIMIT = r"(?<![A-Za-z])(?:sum|prod|int|min|max)(?=_)"
SCRIPT = r"_bar(?![a-z])|[_^](?:\{[^{}]*\}|-?[A-Za-z0-9]+|<[a-z])"
SIGN = r"\.{2,3}|->|<=|>=|\|\||[-+=<>~*/|()\[\],;']"
WORD = re.compile(rf"(?:{LIMIT}|{SYMBOL}|{SCRIPT}|{SIGN}|\d+(?:\.\d+)?)+")
SURE = re.compile(rf"{SCRIPT}|[A-Za-z]\(|=|<|>|->|\|\||^~$")
PIECE = re.compile(
    r"(?P<bar>[A-Za-z]+)_bar|(?P<mark>[_^])(?:\{(?P<braced>[^{}]*)\}|(?P<bare>-?[A-Za-z0-9]+|<[a-z]))"
    r"|(?P<command>\\[lr]vert )|sqrt\((?P<root>(?:[^()]|\([^()]*\))*)\)|(?P<name>[A-Za-z]+)"
    r"|(?P<sign>\.{2,3}|->|<=|>=|\|\||~|\*| \| | \. )"
)
# |x|, but not p(x | z) and not KL(p || q)
BARS = re.compile(r"(?<!\|)\|(?![ |])((?:[^|]|\|\|)*?[^ |])\|(?!\|)")
PAPER = re.compile(r"(?<![\d.])(\d{4}\.\d{4,5})(?![\d.]*\d)")
PLACE = re.compile(r"\b(github\.com/[\w.-]+/[\w.-]*\w)")


def latex(formula: str) -> str:
    """One formula in LaTeX."""
    return PIECE.sub(_piece, BARS.sub(r"\\lvert \1\\rvert ", formula))


def _piece(found: re.Match[str]) -> str:
    if found["bar"]:
        return rf"\bar{{{_name(found['bar'], '')}}}"
    if found["command"]:
        return found["command"]
    if found["mark"]:
        return f"{found['mark']}{{{latex(found['braced'] or found['bare'])}}}"
    if found["root"] is not None:
        return rf"\sqrt{{{latex(found['root'])}}}"
    if found["sign"]:
        return OPERATORS[found["sign"]]
    return _name(found["name"], found.string[found.end() : found.end() + 1])


def _name(name: str, after: str) -> str:
    """A symbol or a function in LaTeX; N before a bracket is the normal distribution."""
    gap = r"\," if after == " " else " "  # before an argument without brackets
    if name in GREEK:
        return rf"\{'epsilon' if name == 'eps' else name} "
    if name in FUNCTIONS:
        return rf"\{name}{gap}"
    if name in LIMITS:
        return LIMITS[name]
    if name == "N" and after == "(":
        return r"\mathcal{N}"
    if name in ("E", "grad"):
        return {"E": rf"\mathbb{{E}}{gap}", "grad": r"\nabla "}[name]
    return name if re.fullmatch("d?[A-Za-z]", name) else rf"\mathrm{{{name}}}{gap}"


def mathml(formula: str, display: bool = False) -> str:
    """One formula as an element of a page."""
    return element(latex(formula), display)


def element(code: str, display: bool = False) -> str:
    """LaTeX as an element of a page; Markdown takes a paragraph that begins with `<math>` for a block."""
    drawn = convert(code, display="block" if display else "inline")
    drawn = drawn.replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")  # a relation, not a letter
    return drawn if display else f'<span class="math">{drawn}</span>'


def formulas(text: str) -> list[tuple[int, int]]:
    """Where the formulas of a text begin and end."""
    spans: list[tuple[int, int]] = []
    run: list[tuple[int, int]] = []
    for word in re.finditer(r"\S+", text):
        core = re.sub(r"(?<!\.)\.$", "", word[0].rstrip(",;:"))
        if re.fullmatch(r"\(?\d+x\d+\)?", core) or not (WORD.fullmatch(core) or core == "."):
            spans += _trimmed(text, run)
            run = []
            continue
        run.append((word.start(), word.start() + len(core)))
        so_far = text[run[0][0] : run[-1][1]]
        if core != word[0].rstrip(",") and so_far.count("(") <= so_far.count(
            ")"
        ):  # a sentence ends
            spans += _trimmed(text, run)
            run = []
    return spans + _trimmed(text, run)


def _trimmed(text: str, run: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A run of words without the prose and the brackets around it; nothing if no formula is left."""
    words = [text[start:end] for start, end in run]
    while words and words[0] in (*LETTERS, "/", ".", "|", "="):
        words, run = words[1:], run[1:]
    while words and words[-1] in (*LETTERS, "-", "/", ".", "|", "="):
        words, run = words[:-1], run[:-1]
    if not any(_is_sure(word) for word in words):
        return []
    start, end = run[0][0], run[-1][1]
    while text[start:end].count("(") > text[start:end].count(")") and text[start] == "(":
        start += 1
    while text[start:end].count(")") > text[start:end].count("(") and text[end - 1] == ")":
        end -= 1
    span = text[start:end]
    return (
        [(start, end)] if span.count("(") == span.count(")") and re.search("[a-zA-Z]", span) else []
    )


def _is_sure(word: str) -> bool:
    """Whether a word can be nothing but mathematics."""
    letter = re.fullmatch(r"[(\[|-]?([A-Za-z])'?[)\]|]*", word)
    return bool(SURE.search(word)) or bool(letter and letter[1] not in LETTERS)


def typeset(text: str) -> str:
    """Markdown with every formula as MathML and every paper as a link; what stands in backticks stays."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _typeset(part) for part in parts)


def _typeset(text: str) -> str:
    pieces, end = [], 0
    for start, stop in formulas(text):
        pieces += [links(text[end:start]), mathml(text[start:stop])]
        end = stop
    return "".join([*pieces, links(text[end:])])


def links(text: str) -> str:
    """A text with its papers and repositories as links."""
    text = PAPER.sub(r"[\1](https://arxiv.org/abs/\1)", text.replace("<", "&lt;"))
    return PLACE.sub(r"[\1](https://\1)", text)


def font() -> bytes:
    """STIX Two Math, which `ziamath` brings, with the glyphs of formulas only: not every machine has such a font."""
    with (files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf").open("rb") as file:
        whole = TTFont(file)
        small = subset.Subsetter(subset.Options(layout_features=["*"], notdef_outline=True))
        ranges = [(0x20, 0x7F), (0xA0, 0x17F), (0x370, 0x400), (0x2010, 0x2070), (0x2100, 0x2150)]
        ranges += [(0x2190, 0x2300), (0x2A00, 0x2B00), (0x1D400, 0x1D800)]
        small.populate(unicodes=[code for first, end in ranges for code in range(first, end)])
        small.subset(whole)
        whole.flavor, out = "woff", io.BytesIO()
        whole.save(out)
    return out.getvalue()
