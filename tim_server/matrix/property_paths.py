"""Dot-separated property paths: `content.m\\.relates_to.rel_type`.

Spec: https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

PropertyPath = tuple[str, ...]


class _Absent:
    """The type of `ABSENT`."""

    __slots__ = ()


ABSENT: Final = _Absent()


def parse_property_path(text: str) -> PropertyPath:
    """The names along the path. `\\.` and `\\\\` are a literal dot and backslash; other escapes stay as they are."""
    names: list[str] = []
    name: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\" and text[position + 1 : position + 2] in (".", "\\"):
            position += 1
            name.append(text[position])
        elif character == ".":
            names.append("".join(name))
            name = []
        else:
            name.append(character)
        position += 1
    return (*names, "".join(name))


def property_at(value: Any, path: PropertyPath) -> Any:
    """The property of an event (or of any object) at this path; `ABSENT` where there is none."""
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return ABSENT
        value = value[name]
    return value


def only_properties(value: Mapping[str, Any], paths: Iterable[PropertyPath]) -> dict[str, Any]:
    """A copy of an object with only the properties at these paths, and what leads to them. Nothing is changed."""
    result: dict[str, Any] = {}
    for path in sorted(set(paths), key=len, reverse=True):
        found = property_at(value, path)
        if found is not ABSENT:
            _put(result, path, found)
    return result


def _put(result: dict[str, Any], path: PropertyPath, value: Any) -> None:
    """Longer paths come first, so that a shorter one replaces what is put here along its way."""
    for name in path[:-1]:
        result = result.setdefault(name, {})
    result[path[-1]] = value
