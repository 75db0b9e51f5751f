"""mypy, strict, finds nothing to say; its cache makes the second run quick."""

import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="package"),
        pytest.param(
            ("--explicit-package-bases", "--follow-imports=silent", "tests/architecture", "tests/clients"), id="tests"
        ),
    ],
)
def test_mypy_strict_is_content(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *arguments]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"\n{finished.stdout}{finished.stderr}"
