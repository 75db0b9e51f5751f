"""The project's files: what stands at the top level, pinned requirements, and texts that name no machine."""

import re
import subprocess

import pytest

from tests.architecture.sources import ROOT, TOP_LEVEL, report, text_files
from tests.architecture.text_rules import foreign_addresses, machine_paths

PIN = re.compile(r"^[a-z0-9][a-z0-9.-]*==[^\s;]+(?: ; .+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")
PIN_FILES = ("requirements.txt", "requirements-build.txt")


def test_the_top_level_holds_what_is_listed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so generated files can't be told from the project's")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    unexpected = sorted({path.partition("/")[0] for path in listed} - TOP_LEVEL)
    assert not unexpected, f"move these into a folder, or list them in tests/architecture/sources.py: {unexpected}"


def test_what_is_listed_is_there() -> None:
    missing = sorted(name for name in TOP_LEVEL if not (ROOT / name).exists())
    assert not missing, f"tests/architecture/sources.py lists what is not there: {missing}"


def test_no_file_names_a_foreign_address() -> None:
    broken = [violation for path, text in text_files() for violation in foreign_addresses(path, text)]
    assert not broken, report(broken)


def test_no_file_names_a_path_of_one_machine() -> None:
    broken = [violation for path, text in text_files() for violation in machine_paths(path, text)]
    assert not broken, report(broken)


@pytest.mark.parametrize("name", PIN_FILES)
def test_requirements_are_pinned_with_hashes(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    strange = [
        f"{name}:{number}: not a pin, a hash or a comment: {line}"
        for number, line in enumerate(lines, start=1)
        if line and not (PIN.match(line) or HASH.match(line) or line.lstrip().startswith("#"))
    ]
    assert not strange, "\n" + "\n".join(strange)
    pins = [index for index, line in enumerate(lines) if PIN.match(line)]
    bare = [f"{name}:{index + 1}: no hash follows" for index in pins if not HASH.match(lines[index + 1])]
    assert pins and not bare, "\n" + "\n".join(bare)


@pytest.mark.parametrize("name", PIN_FILES)
def test_requirements_name_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [sign for sign in ("://", "--index-url", "--extra-index-url", "--find-links", " @ ") if sign in text]
    assert not found, f"{name}: {found}: pip-compile with --no-emit-index-url --no-emit-trusted-host"


def test_every_dependency_of_the_project_is_pinned() -> None:
    pinned = {line.partition("==")[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = project.partition("dependencies = [")[2].partition("]")[0]
    wanted = {re.sub(r"[_.]+", "-", name.lower()) for name in re.findall(r'"([A-Za-z0-9_.-]+)', block)}
    missing = sorted(wanted - pinned)
    assert wanted, "pyproject.toml: no dependencies found"
    assert not missing, f"requirements.txt: pin {missing}: see docs/contributing.md, 'Change a dependency'"


@pytest.mark.parametrize(
    "line",
    [
        "index-url = ht" + "tps://packages.somewhere.org/simple",
        "curl -O ht" + "tp://downloads.vendor.io/tool.tar.gz",
        "--trusted-host regi" + "stry.somewhere.org",
    ],
)
def test_a_foreign_address_is_found(line: str) -> None:
    assert len(list(foreign_addresses("sample.txt", line))) == 1


@pytest.mark.parametrize(
    "line", ["https://matrix.hospital.example/path", "http://127.0.0.1:8008", "http://{host}:{port}/", "files.append"]
)
def test_examples_and_local_addresses_are_fine(line: str) -> None:
    assert list(foreign_addresses("sample.txt", line)) == []


def test_a_path_of_one_machine_is_found() -> None:
    assert len(list(machine_paths("sample.txt", "see /ho" + "me/alice/tim"))) == 1
