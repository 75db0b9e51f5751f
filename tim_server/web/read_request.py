"""Fill a request model from path, query, headers and body, and say what is wrong in the specification's error codes.

Everything about a model that does not change is worked out once, when its route is made.

Spec: https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
"""

import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pydantic
from pydantic.fields import FieldInfo

from tim_server.matrix.errors import BadJson, InvalidParam, MatrixError, MissingParam
from tim_server.web.request_model import RequestModel, marker_of, prefixed_key

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_BOOLEANS: dict[Any, Any] = {"true": True, "false": False}
# Errors about a value whose JSON type is right.
_VALUE_ERRORS = re.compile(r"value_error|literal_error|enum|.*_too_(long|short)|string_pattern.*|(greater|less)_than.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class _QueryField:
    """Where a query field comes from: its name in the query, its key for pydantic, how its strings are converted."""

    name: str
    key: str
    convert: Callable[[str], Any]
    is_list: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReader:
    """Fills one request model. Keys are those of the wire; values are the prefixed keys of pydantic."""

    model: type[RequestModel]
    path_keys: Mapping[str, str]
    optional_path_names: frozenset[str]
    query_fields: tuple[_QueryField, ...]
    header_keys: Mapping[str, str]
    body_keys: tuple[str, ...]
    whole_body_key: str | None
    stream_key: str | None
    is_body_required: bool

    @classmethod
    def of(cls, model: type[RequestModel]) -> Self:
        """Work out where each field of `model` comes from; raises TypeError for a model that cannot be filled."""
        sources = {name: _source_of(model, name) for name in model.__pydantic_fields__}
        fields = model.__pydantic_fields__
        query = tuple(_query_field(name, fields[name]) for name in sources if sources[name] == "query")
        body_names = [name for name in sources if sources[name] == "body"]
        return cls(
            model=model,
            path_keys={_path_name(n, fields[n]): prefixed_key("path", n) for n in sources if sources[n] == "path"},
            optional_path_names=frozenset(
                _path_name(n, fields[n]) for n in sources if sources[n] == "path" and not fields[n].is_required()
            ),
            query_fields=query,
            header_keys={
                fields[n].alias or n.replace("_", "-"): prefixed_key("header", n)
                for n in sources
                if sources[n] == "header"
            },
            body_keys=_body_keys(model, body_names),
            whole_body_key=_only_key(sources, "whole"),
            stream_key=_only_key(sources, "stream"),
            is_body_required=any(fields[n].is_required() for n in sources if sources[n] in ("body", "whole")),
        )

    @property
    def has_json_body(self) -> bool:
        """Whether any field comes from a JSON body."""
        return bool(self.body_keys) or self.whole_body_key is not None

    def read(
        self,
        path: Mapping[str, str],
        query: Mapping[str, Sequence[str]],
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        stream: Any = None,
    ) -> RequestModel:
        """The filled model; raises MissingParam, InvalidParam or BadJson."""
        values: dict[str, Any] = {key: body[key] for key in self.body_keys if key in body}
        for name, value in path.items():
            values[self.path_keys[name]] = value
        for field in self.query_fields:
            strings = query.get(field.name)
            if strings:
                values[field.key] = [field.convert(s) for s in strings] if field.is_list else field.convert(strings[0])
        for name, key in self.header_keys.items():
            if name in headers:
                values[key] = headers[name]
        if self.whole_body_key is not None:
            values[self.whole_body_key] = body
        if self.stream_key is not None:
            values[self.stream_key] = stream
        try:
            request: RequestModel = self.model.__pydantic_validator__.validate_python(values)
        except pydantic.ValidationError as error:
            raise _matrix_error(error) from None
        return request


def _source_of(model: type[RequestModel], name: str) -> str:
    marker = marker_of(model, name)
    return "body" if marker is None else marker.source


def _only_key(sources: Mapping[str, str], source: str) -> str | None:
    names = [name for name in sources if sources[name] == source]
    if len(names) > 1:
        raise TypeError(f"more than one field takes the whole body: {names}")
    return prefixed_key(source, names[0]) if names else None


def _body_keys(model: type[RequestModel], body_names: list[str]) -> tuple[str, ...]:
    fields = model.__pydantic_fields__
    keys = tuple(fields[name].alias or name for name in body_names)
    # pydantic looks a field up by its alias, then by its name: a body key must not be another field's name.
    for key, name in zip(keys, body_names, strict=True):
        is_other_field = key != name and key in fields
        if is_other_field and not (_source_of(model, key) == "path" and fields[key].is_required()):
            raise TypeError(f"{model.__name__}: rename the field {key!r}, the body key of {name!r} has the same name")
    return keys


def _path_name(field_name: str, field: FieldInfo) -> str:
    if field.alias:
        return field.alias
    first, *rest = field_name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _query_field(field_name: str, field: FieldInfo) -> _QueryField:
    types_of_field = _members(field.annotation)
    is_list = any(typing.get_origin(t) in (list, tuple, set, frozenset) for t in types_of_field)
    if is_list:
        types_of_field = [inner for t in types_of_field for arg in typing.get_args(t) for inner in _members(arg)]
    convert: Callable[[str], Any] = str
    if bool in types_of_field:
        convert = _to_bool
    elif int in types_of_field:
        convert = _to_int
    return _QueryField(
        name=field.alias or field_name, key=prefixed_key("query", field_name), convert=convert, is_list=is_list
    )


def _members(annotation: Any) -> list[Any]:
    """The members of a union, through `Annotated`; the annotation itself where it is no union."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [member for arg in typing.get_args(annotation) for member in _members(arg)]
    return [annotation]


def _to_bool(value: str) -> Any:
    return _BOOLEANS.get(value, value)


def _to_int(value: str) -> Any:
    return int(value) if _INTEGER.fullmatch(value) else value


def _matrix_error(error: pydantic.ValidationError) -> MatrixError:
    """The first problem as a Matrix error: names the key and the reason, never the value."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    source, key = _origin(problem["loc"])
    message = f"{key}: {problem['msg']}" if key else problem["msg"]
    if problem["type"] == "missing":
        return MissingParam(f"{key} is missing")
    if source != "body" or _VALUE_ERRORS.fullmatch(problem["type"]):
        return InvalidParam(message)
    return BadJson(message)


def _origin(location: tuple[int | str, ...]) -> tuple[str, str]:
    first, *rest = (str(part) for part in location) if location else ("",)
    source, space, name = first.partition(" ")
    if not space:
        return "body", ".".join([first, *rest])
    return ("body" if source == "whole" else source), ".".join([] if source == "whole" else [name, *rest])
