"""Identifier types for request models: the identifiers of `matrix/`, validated by their own `parse`.

Import the identifiers from here in request models; to a type checker and at run time the values are those of
`tim_server.matrix.identifiers`.

Spec: https://spec.matrix.org/v1.19/appendices/#common-identifier-format
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import GetPydanticSchema
from pydantic_core import core_schema

from tim_server.matrix import identifiers


def _parsed_by(parse: Callable[[str], str]) -> GetPydanticSchema:
    schema = core_schema.no_info_after_validator_function(parse, core_schema.str_schema(strict=True))

    def get_schema(_source: Any, _handler: Any) -> core_schema.CoreSchema:
        return schema

    return GetPydanticSchema(get_schema)


UserId = Annotated[identifiers.UserId, _parsed_by(identifiers.UserId.parse)]
RoomId = Annotated[identifiers.RoomId, _parsed_by(identifiers.RoomId.parse)]
EventId = Annotated[identifiers.EventId, _parsed_by(identifiers.EventId.parse)]
RoomAlias = Annotated[identifiers.RoomAlias, _parsed_by(identifiers.RoomAlias.parse)]
MediaId = Annotated[identifiers.MediaId, _parsed_by(identifiers.MediaId.parse)]
ServerName = Annotated[identifiers.ServerName, _parsed_by(identifiers.ServerName.parse)]


def _parse_room_id_or_alias(value: str) -> identifiers.RoomId | identifiers.RoomAlias:
    if value.startswith("#"):
        return identifiers.RoomAlias.parse(value)
    return identifiers.RoomId.parse(value)


RoomIdOrAlias = Annotated[identifiers.RoomId | identifiers.RoomAlias, _parsed_by(_parse_room_id_or_alias)]


def server_names(values: Iterable[str]) -> list[identifiers.ServerName]:
    """The server names among values such as those of `via`, which clients take from wherever they found the room."""
    found = []
    for value in values:
        try:
            found.append(identifiers.ServerName.parse(value))
        except identifiers.InvalidIdentifier:
            continue
    return found
