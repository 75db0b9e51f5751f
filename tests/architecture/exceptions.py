"""The one list of exceptions to the house rules, `exceptions.toml`, which may only shrink."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.architecture.sources import ROOT, Violation

EXCEPTIONS_FILE = ROOT / "tests/architecture/exceptions.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleException:
    """One place where a rule is broken on purpose."""

    rule: str
    path: str
    name: str
    reason: str


@cache
def listed_exceptions() -> tuple[RuleException, ...]:
    """The exceptions in the order of the file."""
    return tuple(RuleException(**entry) for entry in _document().get("exception", []))


def ceiling() -> int:
    """How many exceptions there may be."""
    return int(_document()["ceiling"])


def unexcused(violations: Iterable[Violation]) -> list[Violation]:
    """The violations that no exception names."""
    excused = {(entry.rule, entry.path, entry.name) for entry in listed_exceptions()}
    return [entry for entry in violations if (entry.rule, entry.path, entry.name) not in excused]


def _document() -> dict[str, Any]:
    return tomllib.loads(EXCEPTIONS_FILE.read_text(encoding="utf-8"))
