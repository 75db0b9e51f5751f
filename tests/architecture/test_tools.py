"""Format, lint and import contracts hold: the tools run as tests, so that one command checks everything."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT


def script(name: str) -> str:
    """The path of a tool that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        pytest.param(("check", "--output-format", "concise"), "ruff check --fix", id="lint"),
        pytest.param(("format", "--check", "--output-format", "concise"), "ruff format", id="format"),
    ],
)
def test_ruff_is_content(arguments: tuple[str, ...], remedy: str) -> None:
    command = [sys.executable, "-m", "ruff", *arguments, "."]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"\n{finished.stdout}{finished.stderr}\nmend it with: {remedy}"


def test_imports_keep_their_contracts() -> None:
    command = [script("lint-imports"), "--cache-dir", str(ROOT / ".import_linter_cache")]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    broken = finished.stdout.partition("Broken contracts")[2] or finished.stdout + finished.stderr
    assert finished.returncode == 0, f"\n{broken}\nthe contracts stand in pyproject.toml, [tool.importlinter]"
