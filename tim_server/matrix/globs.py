"""Glob-style matching: `*` matches zero or more characters, `?` exactly one.

Patterns come from users and are matched against text from strangers, so the time is bounded by the product of both
lengths: the parts between the stars are found one after another, leftmost first, without ever going back. Whoever
takes a pattern from a user bounds its length by `PATTERN_LENGTH_MAX`.

Spec: https://spec.matrix.org/v1.19/appendices/#glob-style-matching
"""

import re
from dataclasses import dataclass

PATTERN_LENGTH_MAX = 512

_FLAGS = re.DOTALL
# The start or end of the value, or any character not in the sets [A-Z], [a-z], [0-9] or _.
_WORD_BOUNDARY = r"(?:(?<![A-Za-z0-9_])|(?![A-Za-z0-9_]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Glob:
    """A compiled pattern: the parts between the stars, each of fixed length."""

    first: re.Pattern[str]
    middle: tuple[re.Pattern[str], ...]
    last: re.Pattern[str] | None  # None where the pattern has no star

    def matches(self, text: str) -> bool:
        """Whether `text` holds the pattern in the way that it was compiled for."""
        found = self.first.search(text)
        for part in self.middle:
            if found is None:
                return False
            found = part.search(text, found.end())
        if found is None or self.last is None:
            return found is not None
        return self.last.search(text, found.end()) is not None


def whole_value_glob(pattern: str) -> Glob:
    """A glob that must match the entire value, whatever the case."""
    return _compiled(pattern, r"\A", r"\Z", _FLAGS | re.IGNORECASE)


def star_glob(pattern: str) -> Glob:
    """A pattern that must match the entire value, case included, and in which only `*` is a wildcard."""
    return _compiled(pattern, r"\A", r"\Z", _FLAGS, single=re.escape("?"))


def words_glob(pattern: str) -> Glob:
    """A glob that must match, whatever the case, any substring that starts and ends at a word boundary."""
    return _compiled(pattern, _WORD_BOUNDARY, _WORD_BOUNDARY, _FLAGS | re.IGNORECASE)


def words_literal(text: str) -> Glob:
    """Matches where `text`, which is no pattern, stands between word boundaries, whatever the case."""
    expression = _WORD_BOUNDARY + re.escape(text) + _WORD_BOUNDARY
    return Glob(first=re.compile(expression, _FLAGS | re.IGNORECASE), middle=(), last=None)


def _compiled(pattern: str, start: str, end: str, flags: re.RegexFlag, single: str = ".") -> Glob:
    parts = [re.escape(part).replace(re.escape("?"), single) for part in re.split(r"\*+", pattern)]
    if len(parts) == 1:
        return Glob(first=re.compile(start + parts[0] + end, flags), middle=(), last=None)
    return Glob(
        first=re.compile(start + parts[0], flags),
        middle=tuple(re.compile(part, flags) for part in parts[1:-1]),
        last=re.compile(parts[-1] + end, flags),
    )
