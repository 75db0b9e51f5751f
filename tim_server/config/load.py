"""Reading the configuration: a YAML file, and environment variables that override it.

`TIM_SERVER__SECTION__KEY` overrides `section.key`; its value is read as YAML. What is wrong is told with file, line,
key and reason, all of it at once.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tim_server.config.base import FILE_SUFFIX, Section, secret_names
from tim_server.config.database import TenantDatabaseSettings
from tim_server.config.settings import Settings, TenantSettings
from tim_server.config.suggest import suggestion
from tim_server.config.yaml_source import YamlSource, read_yaml

ENVIRONMENT_PREFIX = "TIM_SERVER__"
_SEPARATOR = "__"
_TENANT = ("tenants", 0)

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: where it stands, which key, and why."""

    source: str
    line: int | None
    key: str
    reason: str

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{place}: {self.key}: {self.reason}" if self.key else f"{place}: {self.reason}"


class ConfigurationError(Exception):
    """The configuration cannot be used. `str()` has one line for each problem."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


def load_settings(path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in the file `path` and in `environment` (that of the process); raises `ConfigurationError`."""
    try:
        source = read_yaml(path)
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _error(path, "is not text in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigurationError(
            [Problem(source=str(path), line=line, key="", reason=f"is not YAML: {error.problem}")]
        ) from None
    except yaml.YAMLError as error:
        raise _error(path, f"is not YAML: {error}") from None
    if source.duplicates:
        raise ConfigurationError(
            [
                Problem(source=str(path), line=line, key=_dotted(place), reason="stands here for the second time")
                for place, line in source.duplicates
            ]
        )
    values = source.value if source.value is not None else {}
    if not isinstance(values, dict):
        raise _error(path, "must hold options of the form name: value")
    overrides = _overrides(os.environ if environment is None else environment)
    for place, (_, value) in overrides.items():
        _put(values, place, value)
    return _validate(values, source, overrides)


def _error(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError([Problem(source=str(path), line=None, key="", reason=reason)])


Overrides = dict[Place, tuple[str, Any]]
"""By place: the variable's name, and its value."""


def _overrides(environment: Mapping[str, str]) -> Overrides:
    found: Overrides = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        parts = name.removeprefix(ENVIRONMENT_PREFIX).lower().split(_SEPARATOR)
        place = tuple(int(part) if part.isdigit() else part for part in parts)
        try:
            found[place] = (name, yaml.safe_load(environment[name]))
        except yaml.YAMLError:
            found[place] = (name, environment[name])
    return found


def _put(values: dict[str, Any], place: Place, value: Any) -> None:
    """Set what `place` names, making the sections on the way; a place that leads nowhere is left to validation."""
    target: Any = values
    for step, following in pairwise(place):
        if isinstance(target, list) and isinstance(step, int) and step <= len(target):
            if step == len(target):
                target.append({})
            target = target[step]
        elif isinstance(target, dict):
            if target.get(str(step)) is None:
                target[str(step)] = [] if isinstance(following, int) else {}
            target = target[str(step)]
        else:
            return
    last = place[-1]
    if isinstance(target, dict):
        target[str(last)] = value
    elif isinstance(target, list) and isinstance(last, int):
        target[last : last + 1] = [value]


def _validate(values: dict[str, Any], source: YamlSource, overrides: Overrides) -> Settings:
    is_single = "tenants" not in values
    try:
        return Settings.model_validate(
            _as_tenants(values) if is_single else values, context={"folder": source.path.absolute().parent}
        )
    except ValidationError as error:
        problems = []
        details = error.errors(include_url=False, include_input=False)
        broken = {place[:depth] for place in (detail["loc"] for detail in details) for depth in range(len(place))}
        for detail in details:
            if detail["type"] == "too_short" and detail["loc"] in broken:
                continue  # entries that are wrong do not count, which is no further problem
            place = _written_place(detail["loc"], is_single=is_single)
            reason = _reason(detail["type"], detail["msg"], place, is_single=is_single)
            variable = _variable_for(place, overrides, is_in_file=place in source.lines)
            problems.append(
                Problem(
                    source=variable or str(source.path),
                    line=None if variable else source.line_of(place),
                    key=_dotted(place),
                    reason=reason,
                )
            )
        raise ConfigurationError(problems) from None


def _as_tenants(values: dict[str, Any]) -> dict[str, Any]:
    """The form with one homeserver at the top level, as the form with a list of them."""
    tenant_keys = _keys(TenantSettings) - {"database"}
    process = {key: value for key, value in values.items() if key not in tenant_keys}
    tenant = {key: value for key, value in values.items() if key in tenant_keys}
    database = values.get("database")
    if isinstance(database, dict):
        own = _keys(TenantDatabaseSettings)
        tenant["database"] = {key: value for key, value in database.items() if key in own}
        process["database"] = {key: value for key, value in database.items() if key not in own}
    return {**process, "tenants": [tenant]}


def _keys(model: type[Section]) -> set[str]:
    return set(model.model_fields) | {name + FILE_SUFFIX for name in secret_names(model)}


def _written_place(place: Place, *, is_single: bool) -> Place:
    return place[2:] if is_single and place[:2] == _TENANT else place


def _reason(kind: str, message: str, place: Place, *, is_single: bool) -> str:
    if kind == "extra_forbidden":
        return "there is no such option" + suggestion(place, is_single=is_single)
    if kind == "missing":
        return "is required"
    return message.removeprefix("Value error, ").removeprefix("Input ")


def _variable_for(place: Place, overrides: Overrides, *, is_in_file: bool) -> str | None:
    """The environment variable that set what stands at `place`, or below it."""
    for where, (name, _) in overrides.items():
        if where == place[: len(where)] or (not is_in_file and place == where[: len(place)]):
            return name
    return None


def _dotted(place: Place) -> str:
    return ".".join(str(step) for step in place)
