"""The bones hold: imports run one way, what decides is pure, names are our own, nothing names a machine."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import structure
from tests.support.structure import ROOT, SOURCE

PURE = sorted(path for path in (ROOT / "agents").rglob("*.py") if path.name != "agent.py")
ALLOWED = {"agents/debtor/scoring/model_cache.py": ["calls id()"]}
"""Identity decides there whether a cached value is still that of the same model; no result depends on it."""
NAMES_LEFT = Path(__file__).with_name("names_left.json")
FORBIDDEN_MODULES = {
    "asyncio",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "threading",
    "time",
}
FORBIDDEN_CALLS = {"eval", "exec", "hash", "id", "input", "now", "open", "print", "today", "utcnow", "uuid1", "uuid4"}
MACHINE = re.compile(r"/(?:home|Users)/[a-z]+/|(?:--index-url|--extra-index-url|--find-links)[ =]\S*://\S+")


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""


def _impure(source: str) -> list[str]:
    nodes = list(ast.walk(ast.parse(source)))
    imports = [f"imports {name}" for node in nodes for name in _imported(node) if name.split(".")[0] in FORBIDDEN_MODULES]
    return imports + [f"calls {name}()" for node in nodes if (name := _called(node)) in FORBIDDEN_CALLS]


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_decides_reads_no_clock_no_chance_and_no_file(path: Path) -> None:
    allowed = ALLOWED.get(str(path.relative_to(ROOT)), [])
    assert [act for act in _impure(path.read_text(encoding="utf-8")) if act not in allowed] == []


IMPURE = [
    "import random",
    "from time import time",
    "datetime.now(UTC)",
    "date.today()",
    "open('x')",
    "uuid.uuid4()",
    "import os.path",
]


@pytest.mark.parametrize("source", IMPURE)
def test_the_check_itself_finds_what_is_impure(source: str) -> None:
    assert len(_impure(source)) == 1


def test_imports_run_one_way() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("name", ["streams", "schemas", "agents"])
def test_top_level_name_is_ours_and_not_another_package(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs a checkout")
def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    paths = [ROOT / name for name in names if name and name != "tests/unit/test_architecture.py"]
    texts = {path: path.read_bytes().decode(errors="ignore") for path in paths if path.is_file()}
    assert {str(path.relative_to(ROOT)): MACHINE.findall(text) for path, text in texts.items() if MACHINE.search(text)} == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert structure.circles() == []


def test_the_top_of_streams_is_its_ground_and_nothing_else() -> None:
    assert {path.name for path in (ROOT / "streams").glob("*.py")} == {
        "__init__.py",
        "errors.py",
        "logs.py",
        "metrics.py",
        "settings.py",
    }


def test_no_function_is_longer_than_fifty_lines() -> None:
    assert structure.long_functions(50, *SOURCE, "tests") == []


def test_every_public_function_that_decides_shows_an_example() -> None:
    assert structure.without_doctest() == []


def test_every_function_is_annotated() -> None:
    files = structure.python_files(*SOURCE, "tests")
    bare = [
        f"{path.relative_to(ROOT)}:{function.lineno}"
        for path in files
        for function in structure.functions(path)
        if not structure.is_annotated(function)
    ]
    assert bare == []


def test_no_name_is_a_participle_or_a_pronoun_alone() -> None:
    """What is left of before may only become less: names_left.json counts it, by file."""
    left: dict[str, dict[str, int]] = json.loads(NAMES_LEFT.read_text(encoding="utf-8"))
    files = {str(path.relative_to(ROOT)): structure.bare_names(path) for path in structure.python_files(*SOURCE, "tests")}
    new = {
        f"{file}: {name}"
        for file, names in files.items()
        for name, count in names.items()
        if count > left.get(file, {}).get(name, 0)
    }
    assert new == set(), "name the thing or the act: `records`, `expected`, `read_policy`, not `told`, `wanted`, `made`"
