"""What must be true of a room that another server lets this one into.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth import auth_types_for, check_auth_events, check_auth_rules, create_id_of
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import UserId
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.branches import StateNids
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.member_content import AUTHORISED_VIA
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.take_in_state import StateRefused
from tim_server.storage.database import Database
from tim_server.storage.events import load_nodes_by_id

CREATE = ("m.room.create", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinCheck:
    """Checks the answer to a join. All methods raise `StateRefused`."""

    database: Database
    parsed: ParsedEvents
    check: PduCheck

    async def with_signature(self, join: Event, answered: Mapping[str, Any] | None) -> Event:
        """The join event, with the signature of the server that authorises a restricted join; nothing else is taken of
        what was `answered`."""
        authorised_via = join.content.get(AUTHORISED_VIA)
        if not isinstance(authorised_via, str):
            return join
        server = UserId(authorised_via).server_name
        signatures = None if answered is None else answered.get("signatures")
        of_server = signatures.get(server) if isinstance(signatures, dict) else None
        if not isinstance(of_server, dict):
            raise StateRefused("the server that authorises the join has not signed it")
        pdu = {**join.pdu, "signatures": {**join.pdu["signatures"], str(server): of_server}}
        signed = read_stored_pdu(pdu, join.room_version, join.event_id)
        if (await self.check.verify([signed])).refused:
            raise StateRefused("the signature of the server that authorises the join does not verify")
        return signed

    async def check_allowed(self, head: RoomHead, join: Event, before: StateNids) -> None:
        """Whether the state before the join is one of this room and version, and allows the join."""
        version = head.version
        keys = auth_types_for(join.type, join.sender, join.state_key, join.content, version) | {CREATE}
        async with self.database.connection() as connection:
            nodes = await load_nodes_by_id(connection, join.auth_events)
        authorising = [node.nid for node in nodes.values() if node.room_nid == head.nid and not node.rejected]
        if len(authorising) < len(set(join.auth_events)):
            raise StateRefused("events that authorise the join are missing, or were rejected")
        in_place = {key: before[key] for key in keys if key in before}
        events = await self.parsed.load([*authorising, *in_place.values()], version)
        state = {key: events[nid] for key, nid in in_place.items()}
        create = state.get(CREATE)
        if create is None or create.content.get("room_version", "1") != version.identifier:
            raise StateRefused("the state holds no create event of this version")
        if version.room_id_is_create_hash and create.event_id != create_id_of(head.room_id):
            raise StateRefused("the create event is not that of the room")
        cited = {(event.type, event.state_key or ""): event for event in (events[nid] for nid in authorising)}
        try:
            check_auth_events(join, cited.values())
            check_auth_rules(join, {CREATE: create} | cited, version)
            check_auth_rules(join, state, version)
        except EventRejected as error:
            raise StateRefused(f"the state does not allow the join: {error}") from None
