"""The floors of the house: imports point down, no folder imports one that imports it, one reader of each format."""

import ast
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STRUCTURE = runpy.run_path(str(ROOT / "experiments" / "structure.py"), run_name="structure")
# Folders and modules of gen_jax, from the ground up: each imports those of lower floors only.
FLOORS = (
    "errors former progress registry terminal",
    "disk included processes sharding sources stored target typing",
    "check classes conditions fingerprint ops",
    "diagnosed encoding inputs",
    "config_python config_tree data density heads nn schedules",
    "media models optimizer",
    "experiment",
    "coding runs",
    "train evaluate laws runtime",
    "bench fitted report reproduce",
    "fitting",
    "commands",
    "cli",
    "__main__",
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
# Packages that only these rooms may import.
ONLY_IN = {
    "flax": {"nn", "models", "laws", "heads", "bench"},
    "orbax": {"runs"},
    "constriction": {"coding"},
    "diffrax": {"ops"},
}

# Who opens pictures and arrays. The archives of ImageNet, larger than memory, are read row by row.
READERS = {
    "Image.open": {"data/png.py", "data/conversion.py"},
    "np.load": set(),
    "read_array": {"data/npz.py", "data/builders/imagenet_resized.py"},
}


@pytest.fixture(scope="module")
def syntax():
    package = ROOT / "gen_jax"
    return {
        path.relative_to(package): ast.parse(path.read_text()) for path in package.rglob("*.py")
    }


def upward(syntax):
    """Imports of another folder of the same or a higher layer, including imports inside functions."""
    return [
        f"{room} imports {other}"
        for room, others in STRUCTURE["rooms"](syntax).items()
        for other in others
        if room != "__init__" and FLOOR[room] <= FLOOR[other]
    ]


def test_every_room_stands_on_a_floor(syntax):
    assert {path.parts[0].removesuffix(".py") for path in syntax} - {"__init__"} == set(FLOOR)


def test_imports_point_down(syntax):
    assert upward(syntax) == []


def test_there_is_no_circle(syntax):
    assert STRUCTURE["strongly_connected"](STRUCTURE["rooms"](syntax)) == []


@pytest.mark.parametrize(
    ("room", "text", "arrow"),
    [
        ("runs", "def late():\n    from gen_jax.train.loop import train", "runs imports train"),
        ("media", "from gen_jax.evaluate import draw", "media imports evaluate"),
        ("nn", "import gen_jax.models.latent.vae", "nn imports models"),
    ],
)
def test_an_arrow_up_is_seen(syntax, room, text, arrow):
    assert upward({**syntax, Path(room) / "planted.py": ast.parse(text)}) == [arrow]


def test_a_circle_is_seen(syntax):
    planted = {
        **syntax,
        Path("runs/planted.py"): ast.parse("def f():\n    from gen_jax.train import loop"),
    }
    assert STRUCTURE["strongly_connected"](STRUCTURE["rooms"](planted)) == [{"runs", "train"}]


def test_no_file_takes_the_public_names(syntax):
    """`from gen_jax import VAE` would be an arrow to models/ that no graph shows."""
    for path, tree in syntax.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "gen_jax":
                assert {alias.name for alias in node.names} <= set(FLOOR) | {"__version__"}, path


@pytest.mark.parametrize("package", ONLY_IN)
def test_packages_stay_in_their_rooms(syntax, package):
    users = set()
    for path, tree in syntax.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == package for name in names):
                users.add(path.parts[0].removesuffix(".py"))
    assert users
    assert users <= ONLY_IN[package]


@pytest.mark.parametrize("call", READERS)
def test_one_reader_of_each_format(syntax, call):
    calls = {
        path.as_posix()
        for path, tree in syntax.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(call)
    }
    assert calls == READERS[call]
