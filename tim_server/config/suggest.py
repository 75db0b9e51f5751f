"""What an unknown key was probably meant to be."""

import difflib
from types import UnionType
from typing import Any, Union, get_args, get_origin

from tim_server.config.base import FILE_SUFFIX, Section, secret_names
from tim_server.config.database import TenantDatabaseSettings
from tim_server.config.settings import Settings, TenantSettings

Place = tuple[str | int, ...]


def suggestion(place: Place, *, is_single: bool) -> str:
    """A question to append to the message about the unknown key at `place`; empty where nothing is similar."""
    known = [name for name, _ in options_at(place[:-1], is_single=is_single)]
    similar = difflib.get_close_matches(str(place[-1]), known, n=1)
    if similar:
        return f"; did you mean {similar[0]}?"
    elsewhere = [found for found in _all_places((), is_single=is_single) if found[-1] == place[-1]]
    if elsewhere:
        return f"; did you mean {'.'.join(elsewhere[0])}?"
    return ""


def options_at(place: Place, *, is_single: bool) -> list[tuple[str, type[Section] | None]]:
    """Names of the options in the section at `place`, each with the section that it opens."""
    options = _top_level(is_single=is_single)
    for step in place:
        if isinstance(step, int):
            continue
        section = dict(options).get(step)
        if section is None:
            return []
        options = _options_of(section)
        if is_single and place == ("database",):
            options += _options_of(TenantDatabaseSettings)
    return options


def _top_level(*, is_single: bool) -> list[tuple[str, type[Section] | None]]:
    process = _options_of(Settings)
    return process + _options_of(TenantSettings) if is_single else process


def _options_of(section: type[Section]) -> list[tuple[str, type[Section] | None]]:
    named: list[tuple[str, type[Section] | None]] = [
        (name, section_in(field.annotation)) for name, field in section.model_fields.items()
    ]
    return named + [(name + FILE_SUFFIX, None) for name in secret_names(section)]


def section_in(annotation: Any) -> type[Section] | None:
    """The section that an option of this type opens, directly or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) in (Union, UnionType, tuple):
        return next((found for found in map(section_in, get_args(annotation)) if found), None)
    return None


def _all_places(place: tuple[str, ...], *, is_single: bool) -> list[tuple[str, ...]]:
    found = []
    for name, section in options_at(place, is_single=is_single):
        found.append((*place, name))
        if section is not None and name != "tenants":
            found += _all_places((*place, name), is_single=is_single)
    return found
