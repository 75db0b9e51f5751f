"""Let users of other servers in, and give their servers the room's state.

Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import sign_event
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.events.client_format import visible_pdu
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.member_content import AUTHORISED_VIA, MEMBER
from tim_server.services.rooms.resident.make_join import RestrictedJoins
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.rooms.resident.take_over import EventTakeOver, HandedIn
from tim_server.services.rooms.servers_to_tell import remote_servers
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.database import Connection
from tim_server.storage.event_graph import load_auth_chain
from tim_server.storage.events import EventRow
from tim_server.storage.pdus import load_pdus
from tim_server.storage.state import load_keys_of
from tim_server.storage.store import Store
from tim_server.storage.sync_queries import load_first_members

CREATE = ("m.room.create", "")
NAMES = (("m.room.name", ""), ("m.room.canonical_alias", ""))
HEROES_MAX = 5
"""Without a name or alias a room is called after so many of its members."""
EVENTS_PER_READ = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedRoom:
    """A join that was accepted: the event as it is now part of the room, the servers that were in the room before,
    and the PDUs of the state before it and of the auth chain, some at a time. `members_omitted`: most members are
    not among them."""

    event: bytes
    servers_in_room: Sequence[ServerName]
    members_omitted: bool
    state: AsyncIterator[Sequence[bytes]]
    auth_chain: AsyncIterator[Sequence[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinReceipt:
    """Accepts joins."""

    author: Author
    store: Store
    participation: Participation
    gate: TrustGate
    take_over: EventTakeOver
    restricted: RestrictedJoins

    async def receive(self, handed_in: HandedIn, *, omit_members: bool) -> JoinedRoom:
        """Let the user in. A join that was accepted before is answered as it was then.

        Raises `NotFound` unless this server is in the room; `InvalidParam` for what is no join of a user of the origin,
        signed and complete; `Forbidden` where the trust gate, the room's access control list or its rules are against
        it; for restricted rooms `UnableToAuthoriseJoin` and `UnableToGrantJoin`.
        """
        head = await self.participation.check_acl(handed_in.room_id, handed_in.origin)
        await self.gate.require(ChokePoint.MEMBERSHIP, [handed_in.origin])
        event = self.take_over.read(handed_in, head, "join")
        if self._is_authorised_here(event):
            event = await self._authorise(head, event)
        row = await self.take_over.take_over(event)
        async with self.store.database.read() as tx:
            state = await self._state_before(tx, row)
            if omit_members:
                state = await self._without_most_members(tx, row, state)
            chain = await load_auth_chain(tx, [*state, row.nid])
        create = head.state.get(CREATE)
        if create is not None and create not in chain:
            chain = [create, *chain]  # which since v12 no event names
        told = set(state) if omit_members else set()
        return JoinedRoom(
            event=visible_pdu(row, head.version),
            servers_in_room=(self.author.server_name, *remote_servers(head.joined_servers, self.author.server_name)),
            members_omitted=omit_members,
            state=self._pdus(state, head.version),
            auth_chain=self._pdus([nid for nid in chain if nid not in told], head.version),
        )

    def _is_authorised_here(self, event: Event) -> bool:
        """Whether a user of this server is said to authorise a restricted join."""
        named = event.content.get(AUTHORISED_VIA) if event.room_version.restricted_join_rule else None
        try:
            return isinstance(named, str) and UserId.parse(named).server_name == self.author.server_name
        except InvalidIdentifier:
            return False

    async def _authorise(self, head: RoomHead, event: Event) -> Event:
        """The event with the signature of this server, which is what authorises it: so the user must fulfil the
        conditions now, whatever a template has said before."""
        await self.restricted.authorising(head, event.sender)
        pdu = sign_event(event.pdu, event.room_version, self.author.server_name, self.author.key)
        return read_stored_pdu(pdu, event.room_version, event.event_id)

    async def _state_before(self, tx: Connection, row: EventRow) -> Sequence[int]:
        if row.snapshot is None:
            raise NotFound("The state before this event is not known here")
        return sorted((await self.store.snapshots.load(tx, [row.snapshot])).get(row.snapshot, ()))

    async def _without_most_members(self, tx: Connection, row: EventRow, state: Sequence[int]) -> Sequence[int]:
        """Of the members only those after whom the room is called where it has no name."""
        keys = await load_keys_of(tx, state)
        kept: set[str] = set()
        if set(NAMES).isdisjoint(keys.values()):
            first = (await load_first_members(tx, [row.room_nid], limit=HEROES_MAX + 1)).get(row.room_nid, [])
            kept = set([user_id for user_id, _ in first if user_id != row.sender][:HEROES_MAX])
        return [nid for nid in state if keys[nid][0] != MEMBER or keys[nid][1] in kept]

    async def _pdus(self, nids: Sequence[int], version: RoomVersion) -> AsyncIterator[Sequence[bytes]]:
        for start in range(0, len(nids), EVENTS_PER_READ):
            async with self.store.database.connection() as connection:
                pdus = await load_pdus(connection, self.store.codec, nids[start : start + EVENTS_PER_READ])
            yield [visible_pdu(pdu, version) for pdu in pdus]
