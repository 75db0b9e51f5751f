"""Aliases of rooms on this server.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-aliases
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import AliasExists, Forbidden, InvalidParam, MatrixError, NotFound
from tim_server.matrix.identifiers import RoomAlias, RoomId, ServerName
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.canonical_alias import CANONICAL_ALIAS, listed_aliases
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.power import may_send_state
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.view import is_world_readable, load_current_events
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.room_directory import delete_alias, find_alias, insert_alias, load_aliases_of_room


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAliases:
    """Makes, removes and lists aliases."""

    server_name: ServerName
    database: Database
    codec: Codec
    queues: RoomQueues

    async def set(self, requester: Requester, alias: RoomAlias, room_id: RoomId) -> None:
        """Point a new alias to a room that the requester is joined to. Raises `InvalidParam` for an alias of another
        server or one that no client could link to, `AliasExists`, `Forbidden`."""
        check_may_act(requester)
        check_new_alias(alias, self.server_name)
        async with self.database.transaction() as tx:
            room = await find_room_for_user(tx, room_id, requester.user_id)
            if room is None or room.membership != "join":
                raise Forbidden("You aren't a member of the room")
            if not await insert_alias(tx, alias, room.room_nid, requester.user_id):
                raise AliasExists(f"Room alias {alias} already exists.")

    async def delete(self, requester: Requester, alias: RoomAlias) -> None:
        """Remove an alias, and where the requester may, from the room's canonical alias. Raises `NotFound`, and
        `Forbidden` unless the requester made it, is an administrator, or may set the room's canonical alias."""
        check_may_act(requester)
        async with self.database.transaction() as tx:
            found = await find_alias(tx, alias)
            if found is None:
                raise NotFound(f"Room alias {alias} not found.")
            room_nid, room_id, creator = found
            may_set = await may_send_state(tx, self.codec, room_nid, requester.user_id, CANONICAL_ALIAS)
            if not (creator == requester.user_id or requester.is_admin or may_set):
                raise Forbidden("The alias is not yours to remove")
            await delete_alias(tx, alias, room_nid)
            content = await self._canonical_without(tx, room_nid, alias) if may_set else None
        if content is not None:
            draft = Draft(type=CANONICAL_ALIAS, state_key="", sender=requester.user_id, content=content)
            with contextlib.suppress(MatrixError):  # the alias is gone, whatever becomes of the event
                await self.queues.submit(room_id, DraftGroup(drafts=(draft,)))

    async def of_room(self, requester: Requester, room_id: RoomId) -> list[RoomAlias]:
        """The aliases of a room on this server; raises `Forbidden` for who is not in it, unless world-readable."""
        async with self.database.read() as tx:
            room = await find_room_for_user(tx, room_id, requester.user_id)
            if room is None:
                raise Forbidden("You are not a member of the room.")
            is_open = room.membership == "join" or await is_world_readable(tx, self.codec, room.room_nid)
            if not (is_open or requester.is_admin):
                raise Forbidden("You are not a member of the room.")
            return await load_aliases_of_room(tx, room.room_nid)

    async def _canonical_without(self, tx: Connection, room_nid: int, alias: RoomAlias) -> dict[str, Any] | None:
        """The content of the canonical alias event less `alias`; None where the event does not list it."""
        key = (CANONICAL_ALIAS, "")
        row = (await load_current_events(tx, self.codec, room_nid, [key])).get(key)
        if row is None or row.redacted_by is not None:  # a redaction leaves nothing of the content
            return None
        content: dict[str, Any] = decode_lenient(row.body)["content"]
        if alias not in listed_aliases(content, lenient=True):
            return None
        kept = {name: value for name, value in content.items() if not (name == "alias" and value == alias)}
        if "alt_aliases" in kept:
            kept["alt_aliases"] = [other for other in kept["alt_aliases"] if other != alias]
        return kept


def check_new_alias(alias: RoomAlias, server_name: ServerName) -> None:
    """Raise `InvalidParam` unless a new alias of this server may have this form."""
    if alias.server_name != server_name:
        raise InvalidParam("Room alias is not of this server")
    if not alias.localpart or any(character.isspace() for character in alias.localpart):
        raise InvalidParam("Room alias invalid")
