"""The documentation as a site: formulas of docstrings, a page with law and figure for every system, no dead link."""

import ast
import html
import json
import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import gen_jax
from gen_jax.evaluate import catalogue
from gen_jax.included import RESULTS

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("latex2mathml", reason="the extra `docs` is not installed")


@pytest.fixture(scope="module")
def equations():
    return generator("equations")


@pytest.fixture(scope="module")
def systems():
    return generator("systems")


def generator(name: str):
    sys.path.insert(0, str(ROOT / "docs" / "generate"))
    try:
        return __import__(name)
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("log p(x) = sum_i log p(x_i | x_<i)", r"\log\,p(x) = \sum_{i} \log\,p(x_{i}\mid x_{<i})"),
        ("E_q |sg(z_e) - e|^2", r"\mathbb{E} _{q} \lvert\mathrm{sg} (z_{e}) - e\rvert^{2}"),
        ("KL(q(z | x) || N(0, I))", r"\mathrm{KL} (q(z\mid x)\,\|\,\mathcal{N}(0, I))"),
        ("x = f^-1(z), z ~ N(0, I)", r"x = f^{-1}(z), z \sim  \mathcal{N}(0, I)"),
        ("1 - alpha_bar_t >= sqrt(beta_{t-1})", r"1 - \bar{\alpha}_{t} \ge \sqrt{\beta_{t-1}}"),
    ],
)
def test_a_formula_in_latex(equations, formula, expected):
    squeezed = [re.sub(r"\s+", "", text) for text in (equations.latex(formula), expected)]
    assert squeezed[0] == squeezed[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NADE: log p(x) = sum_d log p(x_d | x_<d), a_1 = c.", ["log p(x) = sum_d log p(x_d | x_<d), a_1 = c"]),
        ("a 7x7 convolution (Jain and Abbeel 2020, 2006.12486), then I or A", []),
        ("the bound of one draw, with q(z | x) = p(z)), is a sum", ["q(z | x) = p(z)"]),
        ("the field num_classes of a file ops/nade.py", []),
        ("N(signal_t x_0, noise_t^2) of a step", ["N(signal_t x_0, noise_t^2)"]),
    ],
)  # fmt: skip
def test_the_formulas_of_a_text(equations, text, expected):
    assert [text[start:end] for start, end in equations.formulas(text)] == expected


def test_mathml_needs_nothing_else(equations):
    text = equations.typeset("where `x_i` stays and p(x_i) does not (2006.12486)")
    assert text.count("<math") == 1
    assert "`x_i` stays" in text
    assert "[2006.12486](https://arxiv.org/abs/2006.12486)" in text
    assert "$" not in text
    assert "<mo>&#x0223C;</mo>" in equations.mathml("z ~ N(0, I)")


def test_every_system_has_a_page_with_its_law_and_a_captioned_figure(systems):
    """The list is that of `gen-jax list`."""
    drawn = {
        node.name: ast.get_docstring(node)
        for path in (ROOT / "docs" / "generate" / "figures").glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    found = systems.systems()
    assert sorted(system.id for system in found) == sorted(
        row["system"] for row in catalogue.systems()
    )
    for system in found:
        assert 1 <= len(system.equations()) <= 2, system.id
        assert drawn[system.id], system.id
        assert system.classes[0].__name__ == system.name
    assert found[0].equations() == ["p(x) = theta_x"]


@pytest.mark.slow
def test_every_figure_is_drawn_small_in_ink_and_has_a_text(systems):
    figures = generator("figures")
    for system in systems.systems():
        element = figures.figure(system.id)
        assert len(element) < 100_000, system.id
        assert "#000000" not in element, system.id  # ink is the page's, in light and in dark
        label = re.search('aria-label="([^"]+)"', element)
        assert label, system.id
        assert len(label[1]) > 40, system.id


def test_a_page_has_what_the_files_say(systems):
    """Published number of the config, measured number of the result file, the fields of all bases."""
    [system] = [system for system in systems.systems() if system.id == "vae"]
    rows = systems.configs()["vae"]
    text = html.unescape(systems.page(system, rows, "FIGURE"))
    result = json.loads((RESULTS / "vae_dynamic_mnist_small.json").read_text())
    assert f"<= {result['bits_per_dim']:.4f} ± {result['stderr']:.4f} bits/dim" in text
    assert "86.76 nats, 5,000 draws" in text
    assert "[1509.00519](https://arxiv.org/abs/1509.00519)" in text
    for name in ("event", "latent", "encoder", "decoder", "kl", "num_classes"):
        assert f"| `{name}` | <code>" in text
    assert "<code>int | None</code>" in text
    assert text.count("FIGURE") == 1


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert f": {path.name}" in nav or path.name == "families.md", path


def test_the_version_is_the_same_everywhere():
    assert "version = attr: gen_jax.__version__" in (ROOT / "setup.cfg").read_text()
    assert f"\nversion: {gen_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert gen_jax.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_the_dockerfile_copies_what_there_is():
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in line.split()[1:-1]), line


def test_the_workflow_runs_targets_of_make():
    makefile = (ROOT / "Makefile").read_text()
    runs = re.findall(r"run: make (\S+)", (ROOT / ".github/workflows/test.yml").read_text())
    assert runs == ["test", "docs"]
    assert all(f"\n{target}: " in makefile for target in runs)
    classifiers = (ROOT / "setup.cfg").read_text()
    pythons = re.search(r"python: \[(.*)\]", (ROOT / ".github/workflows/test.yml").read_text())
    assert pythons
    for version in json.loads(f"[{pythons[1]}]"):
        assert f"Python :: {version}\n" in classifiers
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The whole site, built from the tree."""
    config = pytest.importorskip("mkdocs.config", reason="the extra `docs` is not installed")
    from mkdocs.commands.build import build

    place = tmp_path_factory.mktemp("site")
    build(config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(place)))
    return place


@pytest.mark.slow
def test_no_link_of_the_site_is_dead_and_nothing_comes_from_a_network(site):
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    anchors = {path: set(re.findall(r'\sid="([^"]+)"', text)) for path, text in pages.items()}
    assert len(pages) > 250
    for path, text in pages.items():
        if path.name == "404.html":  # its links are of the root of a server
            continue
        assert not re.findall(
            r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(?:https?:)?//', text
        ), path
        for raw in re.findall(r'\s(?:href|src)="([^"]+)"', text):
            target, anchor = urldefrag(unquote(html.unescape(raw)))
            if re.match("https?:|data:|mailto:", target):
                continue
            other = (path.parent / target).resolve() if target else path
            assert other.exists(), (path, raw)
            assert not anchor or other.suffix != ".html" or anchor in anchors[other], (path, raw)


@pytest.mark.slow
def test_every_page_of_a_system_is_whole(site):
    for row in catalogue.systems():
        text = (site / "systems" / f"{row['system']}.html").read_text()
        assert text.count('<div class="law">') >= 1, row
        assert "<svg" in text, row
        assert f"models/{row['family']}/" in text, row
        assert "`" not in re.sub(r"<pre.*?</pre>|<script.*?</script>", "", text, flags=re.DOTALL), (
            row
        )
