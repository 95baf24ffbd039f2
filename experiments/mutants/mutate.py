"""Mutations of Python source, one at a time: small mistakes such as a programmer makes.

Docstrings, annotations, decorators, defaults of fields, texts and refusals (`check`, an `if` that only raises) are left
alone, so that only arithmetic changes.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
COMPARED |= {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
OTHER_SIGN = {ast.Add: ast.Sub, ast.Sub: ast.Add}
# nobody swaps the arguments of these by mistake, or their order means nothing
UNSWAPPED = {"isinstance", "getattr", "hasattr", "zip", "range", "field", "min", "max", "gcd"}
UNSWAPPED |= {"maximum", "minimum", "param", "variable", "partial", "Event", "InputError"}
LEFT = {"axis", "axes", "ndmin", "length", "unroll", "precision", "in_axis", "out_axis"}
KINDS = ("sign", "off by one", "constant", "dropped term", "swapped argument", "comparison")


@dataclass(frozen=True)
class Mutant:
    """A mutation: bytes `start` to `end` of the file become `after`.

    Its id stays the same when other functions of the file change.
    """

    path: str
    place: str
    kind: str
    number: int
    line: int
    start: int
    end: int
    before: str
    after: str

    @property
    def id(self) -> str:
        """The path, the function, the kind, and the number among that kind in the function."""
        return f"{self.path}:{self.place}:{self.kind}:{self.number}"

    def applied(self, source: bytes) -> bytes:
        """The content of the file with the mutation."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants(path: str, source: bytes) -> list[Mutant]:
    """All mutations of a file, in the order of its lines."""
    starts, total = [], 0
    for line in source.split(b"\n"):
        starts.append(total)
        total += len(line) + 1
    counts, result = {}, []
    for place, kind, node, after in _visited(ast.parse(source), "", False):
        number = counts[place, kind] = counts.get((place, kind), -1) + 1
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        before = " ".join(source[start:end].decode().split())
        text = ast.unparse(after)
        text = text if isinstance(after, ast.Constant | ast.Name) else f"({text})"
        result.append(Mutant(path, place, kind, number, node.lineno, start, end, before, text))
    return result


def chosen(files: dict[str, bytes], count: int, seed: int, each: int = 2) -> list[Mutant]:
    """Draw `count` mutations by a seed: the kinds in turn, at most `each` from a file.

    Hashes of the ids give the order, so that a change of one file changes few mutations of other files.
    """
    pools: dict[str, list[Mutant]] = {kind: [] for kind in KINDS}
    for path in sorted(files):
        for mutant in mutants(path, files[path]):
            pools[mutant.kind].append(mutant)
    for kind in KINDS:
        pools[kind].sort(key=lambda mutant: hashlib.sha256(f"{seed} {mutant.id}".encode()).digest())
    taken: list[Mutant] = []
    while len(taken) < count:
        before = len(taken)
        for kind in KINDS:
            for i, mutant in enumerate(pools[kind]):
                if sum(other.path == mutant.path for other in taken) < each:
                    taken.append(pools[kind].pop(i))
                    break
        if len(taken) == before:
            raise ValueError(f"there are only {before} mutants with at most {each} from a file")
    return taken[:count]


def _visited(
    node: ast.AST, place: str, in_class: bool
) -> Iterator[tuple[str, str, ast.expr, ast.expr]]:
    """Yield (place, kind, expression, its replacement) for all expressions below `node` that may change."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        if node.name == "check":  # refusals
            return
        place = f"{place}.{node.name}".lstrip(".")
        for child in node.body:
            yield from _visited(child, place, isinstance(node, ast.ClassDef))
        return
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.If) and all(isinstance(child, ast.Raise) for child in node.body):
        for child in node.orelse:
            yield from _visited(child, place, in_class)
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.AnnAssign):
        if node.value is not None and not in_class:
            yield from _visited(node.value, place, False)
        return
    if isinstance(node, ast.keyword) and node.arg in LEFT:
        return
    if isinstance(node, ast.arguments):
        return
    if isinstance(node, ast.expr):
        for kind, after in _changes(node):
            yield place or "module", kind, node, after
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        return  # -1 is one constant
    for child in ast.iter_child_nodes(node):
        yield from _visited(child, place, in_class)


def _changes(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.BinOp) and not (_text(node.left) or _text(node.right)):
        other = OTHER_SIGN.get(type(node.op))
        if other:
            yield "sign", ast.BinOp(node.left, other(), node.right)
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
            yield "dropped term", node.left
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        if not isinstance(node.operand, ast.Constant):
            yield "sign", node.operand
        elif type(node.operand.value) is float:
            yield "constant", ast.Constant(-2 * node.operand.value)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield "off by one", ast.Constant(node.value + 1)
    elif isinstance(node, ast.Constant) and type(node.value) is float:
        yield "constant", ast.Constant(2 * node.value if node.value else 1.0)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        ops = [COMPARED[type(node.ops[0])](), *node.ops[1:]]
        yield "comparison", ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.Call) and not any(isinstance(a, ast.Starred) for a in node.args):
        name = ast.unparse(node.func).rsplit(".", 1)[-1]
        first = 1 if name == "where" else 0
        args = node.args
        if len(args) > first + 1 and name not in UNSWAPPED:
            left, right = args[first], args[first + 1]
            if ast.dump(left) != ast.dump(right):
                swapped = [*args[:first], right, left, *args[first + 2 :]]
                yield "swapped argument", ast.Call(node.func, swapped, node.keywords)


def _text(node: ast.expr) -> bool:
    """Whether + joins this expression (a text or list) instead of adding it."""
    constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return constant or isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.ListComp)
