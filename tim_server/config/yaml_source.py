"""A YAML file's values, with the line that each key stands on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlSource:
    """What a file says. `lines` maps places to line numbers, counted from 1."""

    path: Path
    value: Any
    lines: dict[Place, int] = field(default_factory=dict)
    duplicates: tuple[tuple[Place, int], ...] = ()

    def line_of(self, place: Place) -> int | None:
        """The line of what stands at `place`, or of the section around it."""
        while place:
            if place in self.lines:
                return self.lines[place]
            place = place[:-1]
        return None


def read_yaml(path: Path) -> YamlSource:
    """The file's content; raises OSError, UnicodeDecodeError, or `yaml.YAMLError`."""
    try:
        return _read(path, path.read_text(encoding="utf-8"))
    except RecursionError:
        raise yaml.YAMLError("nested too deeply, or within itself") from None


def _read(path: Path, text: str) -> YamlSource:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    lines: dict[Place, int] = {}
    duplicates: list[tuple[Place, int]] = []
    if node is not None:
        _collect(node, (), lines, duplicates)
    return YamlSource(path=path, value=yaml.safe_load(text), lines=lines, duplicates=tuple(duplicates))


def _collect(node: yaml.Node, place: Place, lines: dict[Place, int], duplicates: list[tuple[Place, int]]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            line = key.start_mark.line + 1
            if inner in lines:
                duplicates.append((inner, line))
            lines[inner] = line
            _collect(value, inner, lines, duplicates)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, index)] = value.start_mark.line + 1
            _collect(value, (*place, index), lines, duplicates)
