"""Programs of others that tests call: where they lie, and what to do where they are missing.

`make tools` installs those that have a lock file (tests/contract/tools); Prometheus comes as a package of the system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NODE = Path(__file__).parents[1] / "tools" / "node"
GO_PROGRAMS = ROOT / ".cache" / "contract-tools"
TIMEOUT_S = 120.0


def missing(what: str, fix: str) -> None:
    """Skip the test; in CI, where everything must run, fail it."""
    message = f"{what} is not installed, so what it would check is not checked: {fix}"
    if "CI" in os.environ:
        pytest.fail(message)
    pytest.skip(message)


def run(command: Sequence[str | Path], text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


def run_node(script: str, *arguments: Path) -> str:
    """What a script of tests/contract/tools/node prints."""
    node = shutil.which("node")
    if node is None:
        missing("Node.js", "install Node.js 20 or newer with npm, then run `make tools`")
    if not (NODE / "node_modules" / ".ready").exists():
        missing("the packages of tests/contract/tools/node", "run `make tools`")
    result = run([str(node), NODE / script, *arguments])
    assert result.returncode == 0, result.stderr
    return result.stdout


def run_go(program: str, *arguments: Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """How a program of tests/contract/tools/go ended."""
    executable = GO_PROGRAMS / program
    if not executable.exists():
        missing(f"{program} of tests/contract/tools/go", "install Go 1.24 or newer, then run `make tools`")
    return run([executable, *arguments], text)


def run_promtool(*arguments: str, text: str) -> subprocess.CompletedProcess[str]:
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool", "install Prometheus (Debian: apt-get install --no-install-recommends prometheus)")
    return run([str(promtool), *arguments], text)
