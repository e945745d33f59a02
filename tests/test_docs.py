"""The documentation: what it shows runs, what the code knows is up to date, what it links to is there.

A fenced block says in its first line how it is run:

- ``python``: in the order of the page, with the names of the blocks before it; ``needs=a,b`` where packages are wanted.
- ``bash``: its ``sharpscope`` and ``python`` commands, each of which must end with the exit code ``exit=N``, 0 by
  default; ``expensive`` ones are only looked at.
- any language with ``file=NAME``: written to that file first.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sharpscope.cli import run_command
from sharpscope.spec import EXTENDS, Claim, Study

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *DOCS]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    settings: dict[str, str]
    text: str
    line: int

    @property
    def missing(self) -> bool:
        """Whether a package that it wants is not installed."""
        return any(importlib.util.find_spec(name) is None for name in self.settings.get("needs", "").split(",") if name)

    @property
    def commands(self) -> list[list[str]]:
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        settings = dict((*word.split("=", 1), "")[:2] for word in match[2].split())
        found.append(Block(match[1], settings, match[3], text[: match.start()].count("\n") + 1))
    return found


def slow_if_it_trains(page: Path) -> Any:
    blocks = (
        [b for b in blocks_of(page) if b.language == "bash" and "expensive" not in b.settings] if page.exists() else []
    )
    trains = any(command[:2] == ["sharpscope", "run"] for block in blocks for command in block.commands)
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.slow] if trains else [])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a folder of the page's own; what it imports from there is taken out afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def run(command: list[str]) -> int:
    """Run a command of a page and return its exit code; commands of the shell and of other programs are let pass."""
    program, *arguments = command
    if program == "sharpscope":
        return run_command(arguments)
    return subprocess.call([sys.executable, *arguments]) if program == "python" else 0


@pytest.mark.parametrize("page", [slow_if_it_trains(page) for page in PAGES])
def test_what_a_page_shows_runs(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    with torch.random.fork_rng():
        for block in blocks_of(page):
            if file := block.settings.get("file"):
                (folder / file).write_text(block.text, encoding="utf-8")
            elif block.language == "python" and not block.missing:
                # The empty lines let an error name its line in the page.
                exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
            elif block.language == "bash" and "expensive" not in block.settings:
                for command in block.commands:
                    code = run(command)
                    assert code == int(block.settings.get("exit", 0)), capsys.readouterr().err


# What a page is about beside measuring and plugins.
PUBLIC = {
    "docs/concepts/reproducibility.md": {"sharpscope.spec"},
    "docs/concepts/statistics.md": {"sharpscope.analysis.statistics"},
    "docs/how-to/watch-training.md": {"sharpscope.monitor"},
}


@every_page
def test_a_page_imports_what_is_public(page: Path) -> None:
    allowed = {"sharpscope", "sharpscope.extend"} | PUBLIC.get(str(page.relative_to(ROOT)), set())
    for block in blocks_of(page):
        for node in ast.walk(ast.parse(block.text)) if block.language == "python" else ():
            if isinstance(node, ast.ImportFrom | ast.Import):
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                own = {module for module in modules if module.partition(".")[0] == "sharpscope"}
                assert own <= allowed, f"line {block.line + node.lineno}"


@every_page
def test_studies_and_claims_on_a_page_have_known_keys(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "yaml":
            tree = yaml.safe_load(block.text)
            known = Claim.model_fields if "predictions" in tree else {*Study.model_fields, EXTENDS}
            assert set(tree) <= set(known), f"line {block.line}"


@every_page
def test_make_targets_on_a_page_exist(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for block in blocks_of(page):
        for program, *arguments in block.commands if block.language == "bash" else []:
            assert program != "make" or set(arguments) <= set(targets)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, target


def test_what_the_code_knows_is_up_to_date() -> None:
    filled = runpy.run_path(str(ROOT / "docs" / "generate.py"))["filled"]
    for page in DOCS:
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(ROOT)
        assert text == filled(text), f"{name} is out of date; write it anew with: python docs/generate.py"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "reference").glob("*.md")), ids=lambda page: page.stem)
def test_every_option_is_explained(page: Path) -> None:
    bare = re.findall(r"^- `\w+` \((?:required|default `.*`)\)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert not bare


def test_every_page_is_reached_from_the_beginning() -> None:
    seen, waiting = set(), [ROOT / "README.md", ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.exists():
            seen.add(page)
            links = LINK.findall(page.read_text(encoding="utf-8"))
            waiting += [(page.parent / t.partition("#")[0]).resolve() for t in links if ".md" in t and "://" not in t]
    assert set(DOCS) <= seen
