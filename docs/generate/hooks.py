"""Hooks of mkdocs: pages that are generated, links that leave docs/, and the order of the pages.

Generated at build time: the first page from README.md, a page for each system and each notebook, tables of the
families, the recorded results, and the source files that pages link to. Nothing is written into docs/. A link to a file
of the tree that no page shows stops the build.
"""

import posixpath
import re
from typing import Any

import equations
import figures
import notebooks
import systems
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = systems.ROOT
SOURCES = ("gen_jax/models", "gen_jax/ops", "gen_jax/nn")
TEXTS = {  # of the tree, and their pages
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "experiments/results/RESULTS.md": "recorded.md",
    "experiments/mutants/RESULTS.md": "mutants.md",
}
NOTEBOOKS = notebooks.notebooks(ROOT)
PAGES = TEXTS | {notebook.path: notebook.page for notebook in NOTEBOOKS}
LINK = re.compile(r"(!?\[[^\]]*\]\(|^\[[^\]]+\]: )([^)#\s]+)(#[^)]*)?(?=\)|$)", re.MULTILINE)
FOUND = systems.systems()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages of systems below that of their family."""
    for entry in config["nav"]:
        if "Systems" in entry:
            entry["Systems"] = [{"Overview": "families.md"}]
            for family in systems.FAMILIES:
                pages = [system.page for system in FOUND if system.family == family]
                title = (ROOT / "docs" / "families" / f"{family}.md").read_text().splitlines()[0]
                entry["Systems"].append(
                    {title[2:]: [{"Overview": f"families/{family}.md"}, *pages]}
                )
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated."""
    rows = systems.configs()
    for system in FOUND:
        text = systems.page(system, rows.get(system.id, []), figures.figure(system.id))
        files.append(File.generated(config, system.page, content=text))
    for path, page in TEXTS.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    for notebook in NOTEBOOKS:
        files.append(File.generated(config, notebook.page, content=notebook.text))
        for name, png in notebook.pictures.items():
            files.append(File.generated(config, f"examples/{name}", content=png))
    for path in sorted((ROOT / "experiments" / "results").glob("*.png")):
        files.append(File.generated(config, f"pictures/{path.name}", content=path.read_bytes()))
    shown = {row["file"] for of_system in rows.values() for row in of_system}
    for folder in SOURCES:
        shown |= {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")}
    for name in sorted(shown):
        text = f"---\nsearch:\n  exclude: true\n---\n\n# {name}\n\n```python\n{(ROOT / name).read_text()}```\n"
        files.append(File.generated(config, f"{name}.md", content=text))
    files.append(
        File.generated(config, "assets/STIXTwoMath-Regular.woff", content=equations.font())
    )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files of the tree to their pages; add the table of a family."""
    here = {page: path for path, page in PAGES.items()}.get(page.file.src_uri)
    of_tree = here or f"docs/{page.file.src_uri}"

    def led(found: re.Match[str]) -> str:
        start, target, anchor = found.groups(default="")
        if "://" in target or page.file.src_uri.startswith("systems/"):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(of_tree), target))
        to = _page_of(path, files)
        if to is None:
            raise PluginError(f"{of_tree}: no page shows {path}")
        folder = posixpath.dirname(page.file.src_uri)
        return f"{start}{posixpath.relpath(to, folder or '.')}{anchor}"

    text = LINK.sub(led, re.sub(r"<!-- .*? -->\n?", "", markdown))
    family = re.fullmatch(r"families/(\w+)\.md", page.file.src_uri)
    if family:
        of_family = [system for system in FOUND if system.family == family[1]]
        text += "\n" + systems.family_table(family[1], of_family)
    return text


def _page_of(path: str, files: Files) -> str | None:
    """The address in the site of a file of the tree."""
    candidates: list[Any] = [PAGES.get(path), path.removeprefix("docs/"), f"{path}.md"]
    if path.endswith(".png"):
        candidates.append(f"pictures/{posixpath.basename(path)}")
    return next((to for to in candidates if to and files.get_file_from_path(to)), None)
