"""Canonical aliases must be aliases of their room.

Spec: https://spec.matrix.org/v1.19/client-server-api/#mroomcanonical_alias
"""

from dataclasses import dataclass
from typing import Any

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import BadAlias, BadJson, InvalidParam
from tim_server.matrix.identifiers import InvalidIdentifier, RoomAlias, RoomId
from tim_server.services.rooms.view import load_current_events
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.room_directory import load_aliases
from tim_server.storage.rooms import load_room

CANONICAL_ALIAS = "m.room.canonical_alias"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalAliasCheck:
    """Looks aliases up that an event would add."""

    database: Database
    codec: Codec

    async def check(self, room_id: RoomId, content: dict[str, Any]) -> None:
        """Raise `InvalidParam` for what is no alias, `BadAlias` for one that does not point to the room.

        Aliases that the event in place lists already are not looked at.
        """
        listed = listed_aliases(content)
        async with self.database.read() as tx:
            room = await load_room(tx, room_id)
            if room is None:
                return  # sending will say so
            key = (CANONICAL_ALIAS, "")
            present = (await load_current_events(tx, self.codec, room.nid, [key])).get(key)
            known = set() if present is None else listed_aliases(decode_lenient(present.body)["content"], lenient=True)
            added = listed - known
            for alias in added:
                _parse(alias)
            targets = await load_aliases(tx, sorted(added))
        for alias in sorted(added):
            if targets.get(alias) != room_id:
                raise BadAlias(f"The alias {alias} does not point to this room")


def listed_aliases(content: dict[str, Any], *, lenient: bool = False) -> set[str]:
    """`alias` and `alt_aliases` of a content. Raises `BadJson` for wrong types, unless `lenient`."""
    alias, alternatives = content.get("alias"), content.get("alt_aliases")
    main = [] if alias is None or alias == "" else [alias]
    others = [] if alternatives is None else alternatives
    if not isinstance(others, list) or not all(isinstance(item, str) for item in [*main, *others]):
        if lenient:
            return set()
        raise BadJson("alias must be a string, and alt_aliases a list of strings")
    return {*main, *others}


def _parse(alias: str) -> RoomAlias:
    try:
        return RoomAlias.parse(alias)
    except InvalidIdentifier:
        raise InvalidParam("The event lists something that is no room alias") from None
