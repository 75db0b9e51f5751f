"""The project's files as the architecture tests see them: parsed once, found in one place."""

import ast
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tim_server"

TOP_LEVEL = frozenset(
    {
        ".ci",
        ".dockerignore",
        ".gitignore",
        "CHANGELOG.md",
        "Dockerfile",
        "README.md",
        "config",
        "docker-compose.yml",
        "docs",
        "migrations",
        "pyproject.toml",
        "requirements-build.txt",
        "requirements.txt",
        "tests",
        "tim_server",
    }
)
SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One Python file: `path` is relative to the project's root, with forward slashes."""

    path: str
    text: str
    tree: ast.Module

    @property
    def dotted_name(self) -> str:
        """The name under which the module is imported."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A broken rule: where, which rule, which name it concerns, and what to do about it."""

    rule: str
    path: str
    line: int
    name: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.advice}"


def report(violations: Iterable[Violation]) -> str:
    """The message of a failed test: one line for each violation."""
    return "\n" + "\n".join(str(violation) for violation in violations)


def parse_module(path: str, text: str) -> Module:
    """A module from its text, for the tree below and for the samples that show that a rule can fail."""
    return Module(path=path, text=text, tree=ast.parse(text, filename=path))


@cache
def package_modules() -> tuple[Module, ...]:
    """Every module of tim_server."""
    return tuple(_read(path) for path in sorted(PACKAGE.rglob("*.py")))


@cache
def modules_of_tests() -> tuple[Module, ...]:
    """Every module below tests."""
    return tuple(_read(path) for path in sorted((ROOT / "tests").rglob("*.py")) if not _is_skipped(path))


@cache
def text_files() -> tuple[tuple[str, str], ...]:
    """Every text file of the project as (path, text); binary files and what tools leave behind are left out."""
    found: list[tuple[str, str]] = []
    for name in sorted(TOP_LEVEL):
        top = ROOT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not _is_skipped(path):
                with suppress(UnicodeDecodeError):
                    found.append((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
    return tuple(found)


def _read(path: Path) -> Module:
    return parse_module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))


def _is_skipped(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return any(part in SKIPPED_FOLDERS or part.endswith("_cache") for part in parts)
