"""Measure the structure of the code, before and after: `python experiments/structure.py --before CHECKOUT [--record]`.

- Lines are physical lines.
- Entered: the functions (without lambdas and comprehensions) and files of gen_jax that run in `log_prob`; in one
  `step` with the draw of its value and one `write`; in the whole of `sample`. They are traced on 28x28 grey images
  under `jax.eval_shape`.
- Stepping lines: functions named in `STEPPED`, classes named in `CACHES`, the files `STEPPED_FILES`, and lines of a
  function with a parameter `at` or `time` that run only if it is not None. Their share is relative to all lines in the
  files of models, nn and ops that the system enters.
- A question is a `hasattr` or `getattr` for a name that a class under models/ defines.
- A circle is a set of folders and modules of gen_jax that import each other, including imports inside functions.
"""

import argparse
import ast
import collections
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
RECORD = HERE.parent / "results" / "structure.json"
STORIES = ("models", "nn", "ops")
SYSTEMS = {"Gated PixelCNN": "GatedPixelCNN", "PixelCNN++": "PixelCNNPP"}
STEPPED = re.compile(
    r"_?(init_cache|cache_of|init_queue|empty_queue|step|stepped|write|site|row|rows_of|begin_row|above|begin|part|absorb"
    r"|once|turn|here|halves_here|sweep|spread|beyond|coarse|opens|new_row|new_pixel|place|put_site|put_group|take_group|put_column"
    r"|take_column|pad_row|term_halves|row_taps|site_taps|vertical_conv_row|horizontal_conv_site|causal_attention_site"
    r"|dilated_conv_step|masked_conv_site|masked_conv_above|shifted_conv_above|shifted_conv_site)"
)
CACHES = re.compile(r"\w*Cache|Bridge|Row|Site|Before|Kept|Context|Queue")
STEPPED_FILES = ("nn/at.py", "nn/once.py")
TRACES = {
    "log_p": "log p",
    "pixel": "one sampled pixel",
    "sample": "a sample, cache and loop included",
}
TRACED = """
import json, sys
from pathlib import Path
import jax, jax.numpy as jnp
import gen_jax
from gen_jax import functional, image
tree, name, trace = Path(gen_jax.__file__).parent, *sys.argv[1:]
model = getattr(gen_jax, name)(image(28, 28))
key, x = jax.random.key(0), jnp.zeros((2, 28, 28, 1), jnp.uint8)
variables = jax.eval_shape(functional(model).init, key, x)
cache = jax.eval_shape(lambda v: model.apply(v, 2, None, method="init_cache"), variables)
entered = set()
def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(str(tree)) and not code.co_name.startswith("<"):
        entered.add((str(Path(code.co_filename).relative_to(tree)), code.co_qualname))
def log_p(variables, x):
    return model.apply(variables, x, method="log_prob")
def pixel(variables, cache):
    cache, params = model.apply(variables, cache, jnp.int32(0), method="step")
    value = model.head.sample(params, key, 1.0).astype(jnp.int32)
    return model.apply(variables, cache, jnp.int32(0), value, method="write")
sys.setprofile(note)
if trace == "log_p":
    jax.eval_shape(log_p, variables, x)
elif trace == "pixel":
    jax.eval_shape(pixel, variables, cache)
else:
    jax.eval_shape(lambda v: model.apply(v, key, 2, method="sample"), variables)
sys.setprofile(None)
print(json.dumps(sorted(entered)))
"""


def measured(tree: Path) -> dict[str, Any]:
    """All rows of the table for a checkout."""
    package = tree / "gen_jax"
    files = {path.relative_to(package): path.read_text() for path in package.rglob("*.py")}
    syntax = {path: ast.parse(text) for path, text in files.items()}
    lines = {path: len(text.splitlines()) for path, text in files.items()}
    stories = {path for path in files if path.parts[0] in STORIES}
    stepped = {path: stepped_lines(path, syntax[path]) for path in stories}
    largest = max(lines, key=lambda path: lines[path])
    rows: dict[str, Any] = {
        "files of models, nn and ops": len(stories),
        "lines of models, nn and ops": sum(lines[path] for path in stories),
        "files of gen_jax": len(files),
        "lines of gen_jax": sum(lines.values()),
        "largest file": f"{largest}, {lines[largest]}",
    }
    for system, name in SYSTEMS.items():
        traces = {trace: entered(tree, name, trace) for trace in TRACES}
        for trace, title in TRACES.items():
            paths = {path for path, _ in traces[trace]}
            rows[f"{system}: files, functions entered for {title}"] = (
                f"{len(paths)}, {len(traces[trace])}"
            )
        paths = {Path(path) for calls in traces.values() for path, _ in calls} & stories
        share = sum(len(stepped[path]) for path in paths) / sum(lines[path] for path in paths)
        rows[f"{system}: share of stepping lines"] = f"{share:.0%}"
    total = sum(map(len, stepped.values())) / sum(lines[path] for path in stories)
    rows["models, nn and ops: share of stepping lines"] = f"{total:.0%}"
    circles = strongly_connected(rooms(syntax))
    rows["import circles of folders"] = len(circles)
    rows["folders and modules in circles"] = ", ".join(sorted(set().union(*circles))) or "none"
    rows["hasattr or getattr questions to models"] = len(questions(syntax))
    rows["docstrings of at most three words"] = sum(map(short_docstrings, syntax.values()))
    return rows


def entered(tree: Path, name: str, trace: str) -> list[tuple[str, str]]:
    """The files and functions of the tree that a new process enters."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", TRACED, name, trace]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tree)
    if done.returncode:
        raise SystemExit(f"{tree}: {name} cannot be traced: {done.stderr.strip()[-800:]}")
    return [(path, function) for path, function in json.loads(done.stdout.splitlines()[-1])]


def stepped_lines(path: Path, tree: ast.Module) -> set[int]:
    """The line numbers that only the stepped form needs."""
    if str(path) in STEPPED_FILES:
        return set(range(1, (tree.body[-1].end_lineno or 0) + 1))
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            takes = {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
            if STEPPED.fullmatch(node.name):
                first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
                lines |= set(range(first, (node.end_lineno or 0) + 1))
            elif takes & {"at", "time"}:
                for inside in _branches(node.body, takes & {"at", "time"}):
                    lines |= set(range(inside.lineno, (inside.end_lineno or 0) + 1))
        elif isinstance(node, ast.ClassDef) and CACHES.fullmatch(node.name):
            lines |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return lines


def _branches(body: list[ast.stmt], names: set[str]) -> Iterator[ast.stmt | ast.expr]:
    """The nodes that run only if one of the names is not None."""
    for index, statement in enumerate(body):
        if isinstance(statement, ast.If):
            asked = _asked(statement.test, names)
            inside, otherwise = statement.body, statement.orelse
            if asked is None:
                yield from _branches(inside, names)
                yield from _branches(otherwise, names)
            elif asked:
                yield from [statement.test, *inside]
                yield from _branches(otherwise, names)
            else:
                yield from [statement.test, *otherwise]
                yield from _branches(inside, names)
                if isinstance(inside[-1], ast.Return):
                    yield from body[index + 1 :]
                    return
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.IfExp) and _asked(node.test, names) is not None:
                yield node


def _asked(test: ast.expr, names: set[str]) -> bool | None:
    """True if the test is that a name is not None, False if the test is that it is None, None for another test."""
    if isinstance(test, ast.BoolOp):
        answers = [_asked(part, names) for part in test.values]
        return next((answer for answer in answers if answer is not None), None)
    if isinstance(test, ast.Call) and getattr(test.func, "id", "") == "isinstance":
        return True if getattr(test.args[0], "id", "") in names else None
    if isinstance(test, ast.Compare) and getattr(test.left, "id", "") in names:
        return isinstance(test.ops[0], ast.IsNot)
    return None


def imports(path: Path, tree: ast.Module, modules: set[str]) -> set[str]:
    """The modules of gen_jax that a file imports, also inside functions, as dotted names without `gen_jax.`."""
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name.startswith("gen_jax."):
                if name.removeprefix("gen_jax.") in modules:
                    imported.add(name.removeprefix("gen_jax."))
                    break
                name = name.rpartition(".")[0]
    return imported - {".".join(path.with_suffix("").parts)}


def rooms(syntax: dict[Path, ast.Module]) -> dict[str, set[str]]:
    """For each folder and module at the top of gen_jax, those that it imports."""
    modules = {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in syntax
    } - {"__init__"}
    graph: dict[str, set[str]] = collections.defaultdict(set)
    for path, tree in syntax.items():
        room = path.parts[0].removesuffix(".py")
        graph[room] |= {name.split(".")[0] for name in imports(path, tree, modules)} - {room}
    return graph


def strongly_connected(graph: dict[str, set[str]]) -> list[set[str]]:
    """The circles: sets of several nodes that can all be reached from each other."""
    reached = {node: _reached(node, graph.__getitem__) for node in list(graph)}
    circles = {
        frozenset({node, *(other for other in reached[node] if node in reached.get(other, ()))})
        for node in reached
    }
    return [set(circle) for circle in circles if len(circle) > 1]


def _reached(start: str, following: Callable[[str], set[str]]) -> set[str]:
    seen, ahead = set(), [start]
    while ahead:
        for node in following(ahead.pop()) - seen:
            seen.add(node)
            ahead.append(node)
    return seen


def questions(syntax: dict[Path, ast.Module]) -> list[str]:
    """The places where `hasattr` or `getattr` asks for a name that a class under models/ defines."""
    defined = set()
    for path, tree in syntax.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and path.parts[0] == "models":
                for statement in node.body:
                    target = getattr(statement, "target", None)
                    defined |= {getattr(statement, "name", ""), getattr(target, "id", "")}
    return [
        f"{path}:{node.lineno} {node.args[1].value}"
        for path, tree in syntax.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in ("hasattr", "getattr")
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
        and node.args[1].value in defined
    ]


def short_docstrings(tree: ast.Module) -> int:
    """The number of docstrings with at most three words."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
    return sum(1 for text in texts if text and len(text.split()) <= 3)


def commit(tree: Path) -> str:
    """The commit of a checkout, with a + if files differ from it."""
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    names = ("before", "after")
    columns = [f"{name} ({record[name]['commit']})" for name in names if name in record]
    lines = [f"| | {' | '.join(columns)} |", "|" + " --- |" * (len(columns) + 1)]
    for row, value in record["after"]["rows"].items():
        values = [record["before"]["rows"].get(row, "-")] if "before" in record else []
        cells = [f"{cell:,}" if isinstance(cell, int) else cell for cell in (*values, value)]
        lines.append(f"| {' | '.join([row, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table; with --record also write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("tree", nargs="?", type=Path, default=HERE.parents[1])
    parser.add_argument("--before", type=Path, metavar="PATH", help="an older checkout")
    parser.add_argument("--record", action="store_true", help=f"write results/{RECORD.name} too")
    args = parser.parse_args()
    record = {}
    for name, tree in (("before", args.before), ("after", args.tree)):
        if tree is not None:
            tree = tree.resolve()
            record[name] = {"commit": commit(tree), "rows": measured(tree)}
    if args.record:
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
