"""Upgrade a room: another of the wanted version replaces it.

The new room, the old room's tombstone and the aliases that move are one commit: whatever happens, either nothing has
changed, or the old room leads to the new one and everything that led to the old one does too. Both rooms are decided in
the old room's queue, on one head of it.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import Forbidden, InvalidParam, MatrixError, NotFound, UnsupportedRoomVersion
from tim_server.matrix.event_auth.power_levels import creators_of
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_format import content_json
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.canonical_alias import CANONICAL_ALIAS
from tim_server.services.rooms.carry_over import CarryOver, room_in
from tim_server.services.rooms.create import ROOM_ID_BYTES
from tim_server.services.rooms.decide import Decider, Decision, needed_keys, new_room_head
from tim_server.services.rooms.draft import DraftGroup
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.member_content import load_names
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.power import may_send_state
from tim_server.services.rooms.queue import DecidedAlone, RoomQueues
from tim_server.services.rooms.replacement_state import (
    CHILD,
    COPIED,
    CREATE,
    POWER_LEVELS,
    TOMBSTONE,
    OldRoom,
    Replacement,
    closing_drafts,
    kept_creators,
    replacement_drafts,
)
from tim_server.services.rooms.view import load_current_events
from tim_server.services.trust.gate import ChokePoint
from tim_server.storage.database import Connection
from tim_server.storage.events import load_events
from tim_server.storage.memberships import load_banned
from tim_server.storage.room_directory import load_aliases_of_room
from tim_server.storage.rooms import load_room
from tim_server.storage.store import Store

EVENTS_MAX = 1_000
"""Events of a room that one upgrade makes, which are decided in one go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomUpgrade:
    """Upgrades rooms. `randomness` gives unpredictable bytes."""

    store: Store
    queues: RoomQueues
    parsed: ParsedEvents
    carry_over: CarryOver
    author: Author
    now_ms: Callable[[], int]
    randomness: Callable[[int], bytes]

    async def upgrade(
        self, requester: Requester, room_id: RoomId, version: str, additional_creators: Sequence[UserId]
    ) -> RoomId:
        """Replace the room; the id of the new one. `additional_creators` are those of a version that has them. The same
        request once more, as after a lost answer, gives the room that it made before.

        Raises `UnsupportedRoomVersion`, `NotFound` for an unknown room, `Forbidden` for who may not send its tombstone
        and for creators on servers that the trust gate refuses, `InvalidParam` for a room with more state than can be
        taken over.
        """
        check_may_act(requester)
        wanted = ROOM_VERSIONS.get(version)
        if wanted is None:
            raise UnsupportedRoomVersion("This server does not support the room version")
        async with self.store.database.read() as tx:
            room = await load_room(tx, room_id)
            if room is None:
                raise NotFound("Unknown room")
            if not await may_send_state(tx, self.store.codec, room.nid, requester.user_id, TOMBSTONE):
                raise Forbidden("You cannot upgrade this room")
        creators = {user_id.server_name for user_id in additional_creators}
        await self.queues.gate.require(ChokePoint.EVENT_CREATION, creators)
        upgrade = _Upgrade(self, requester.user_id, wanted, additional_creators)
        await self.queues.submit(room_id, DecidedAlone(decide=upgrade.decide))
        await self.carry_over.into(requester.user_id, upgrade.replacement)
        return upgrade.replacement


class _Upgrade:
    """One upgrade, decided on one head of the old room after another, until the commit succeeds."""

    def __init__(
        self, service: RoomUpgrade, sender: UserId, version: RoomVersion, additional_creators: Sequence[UserId]
    ) -> None:
        self._service = service
        self._sender = sender
        self._version = version
        self._additional_creators = additional_creators
        self.replacement = RoomId("")

    async def decide(self, head: RoomHead) -> Decision:
        """The old room's decision, whose commit makes the new room too; raises `MatrixError` if there is none."""
        async with self._service.store.database.read() as tx:
            if (made_before := await self._made_before(tx, head)) is not None:
                self.replacement, tombstone_id = made_before
                return Decision(answers=((tombstone_id,),), commit=None, head=head)
            old = await self._load(tx, head)
            names = (await load_names(tx, self._service.store.codec, [self._sender])).get(self._sender, {})
        new = Replacement(
            version=self._version,
            creator=self._sender,
            names=names,
            additional_creators=self._additional_creators,
            last_event=head.extremities[-1][1],
        )
        if self._version.room_id_is_create_hash:
            created = await self._decide_new(None, old, new)
            closed = await self._decide_old(head, old, created.head.room_id)
        else:
            room_id = self._new_room_id()
            closed = await self._decide_old(head, old, room_id)
            tombstone = closed.answers[0]
            last_event = new.last_event if isinstance(tombstone, MatrixError) else tombstone[0]
            created = await self._decide_new(room_id, old, replace(new, last_event=last_event))
        if closed.commit is None or created.commit is None or isinstance(closed.answers[0], MatrixError):
            return replace(closed, answers=closed.answers[:1], commit=None, head=head)
        self.replacement = created.head.room_id
        commit = replace(closed.commit, replacement=replace(created.commit, creator=self._sender))
        return replace(closed, answers=closed.answers[:1], commit=commit)

    async def _made_before(self, tx: Connection, head: RoomHead) -> tuple[RoomId, EventId] | None:
        """The room that the same request has made already, and the tombstone that says so."""
        codec = self._service.store.codec
        tombstone = (await load_current_events(tx, codec, head.nid, [(TOMBSTONE, "")])).get((TOMBSTONE, ""))
        if tombstone is None or tombstone.sender != self._sender or tombstone.redacted_by is not None:
            return None
        replacement = room_in(decode_lenient(tombstone.body)["content"], "replacement_room")
        room = None if replacement is None else await load_room(tx, replacement)
        if replacement is None or room is None or room.room_version != self._version.identifier:
            return None
        create = (await load_current_events(tx, codec, room.nid, [(CREATE, "")]))[(CREATE, "")]
        content = decode_lenient(create.body)["content"]
        is_same = (
            create.sender == self._sender
            and room_in(content.get("predecessor"), "room_id") == head.room_id
            and content.get("additional_creators", [])
            == kept_creators(self._version, self._sender, self._additional_creators)
        )
        return (replacement, tombstone.event_id) if is_same else None

    async def _load(self, tx: Connection, head: RoomHead) -> OldRoom:
        """The old room. Its state is that of `head`, members and aliases those of now."""
        codec = self._service.store.codec
        single = (CREATE, POWER_LEVELS, CANONICAL_ALIAS, *COPIED)
        keys = [key for key in head.state if key[0] == CHILD or (key[0] in single and key[1] == "")]
        banned = await load_banned(tx, head.nid, limit=EVENTS_MAX)
        if len(keys) + len(banned) > EVENTS_MAX:
            raise InvalidParam("The room has more children or banned users than can be taken over")
        rows = await load_events(tx, codec, [*(head.state[key] for key in keys), *banned.values()])
        contents = {nid: decode_lenient(content_json(row, head.version)) for nid, row in rows.items()}
        create = rows[head.state[(CREATE, "")]]
        reasons = {user_id: contents[nid].get("reason") for user_id, nid in banned.items()}
        return OldRoom(
            room_id=head.room_id,
            version=head.version,
            contents={key: contents[head.state[key]] for key in keys},
            creators=creators_of(read_stored_pdu(decode_lenient(create.body), head.version, create.event_id)),
            bans={user_id: reason if isinstance(reason, str) else None for user_id, reason in reasons.items()},
            aliases=frozenset(await load_aliases_of_room(tx, head.nid)),
        )

    async def _decide_old(self, head: RoomHead, old: OldRoom, replacement: RoomId) -> Decision:
        """The tombstone must pass; what else closes the room is sent as far as its sender may."""
        drafts = closing_drafts(old, replacement, self._sender)
        groups = [DraftGroup(drafts=(draft,)) for draft in drafts]
        nids = {nid for key in needed_keys(head, groups) if (nid := head.state.get(key)) is not None}
        known = await self._service.parsed.load(nids, head.version)
        return (await self._decider(len(drafts))).decide(head, groups, known)

    async def _decide_new(self, room_id: RoomId | None, old: OldRoom, new: Replacement) -> Decision:
        """The new room. Whoever has not enough power to set up everything has it while the room is being made."""
        answer: object = None
        for until_the_end in (False, True):
            drafts = replacement_drafts(old, new, with_power_until_the_end=until_the_end)
            decider = await self._decider(len(drafts) + 1)
            room = new_room_head(next(decider.nids), room_id or RoomId(""), new.version)
            decision = decider.decide(room, [DraftGroup(drafts=drafts)], {})
            (answer,) = decision.answers
            if not isinstance(answer, MatrixError):
                return await self._service.queues.outcomes.add_to(decision)
        assert isinstance(answer, MatrixError)
        raise answer

    async def _decider(self, drafts: int) -> Decider:
        taken = [
            await self._service.store.writer.take_nids(drafts) for _ in range(2)
        ]  # 2 * EVENTS_MAX is too many at once
        return Decider(author=self._service.author, now_ms=self._service.now_ms(), nids=chain(*taken))

    def _new_room_id(self) -> RoomId:
        opaque = urlsafe_b64encode(self._service.randomness(ROOM_ID_BYTES)).decode()
        return RoomId(f"!{opaque}:{self._service.author.server_name}")
