"""List what a user was notified of, or would have been.

Spec: https://spec.matrix.org/v1.19/client-server-api/#listing-notifications
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import InvalidParam
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.push_rules import (
    Action,
    NotifyClass,
    NotifyLevel,
    PushContext,
    RuleSet,
    default_rules,
    evaluate,
    forecast_of,
    level_of,
    pushed_event,
)
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.services.account_data.ignored import load_ignored_users
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents, Reader, Surroundings
from tim_server.services.events.membership_history import Histories
from tim_server.services.events.visibility import is_presentable, load_histories
from tim_server.services.push_rules.known import KnownRules
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow, load_events
from tim_server.storage.memberships import UserRoom, load_rooms_of_user
from tim_server.storage.notified_events import NotifiedEvent, list_notified
from tim_server.storage.outside_memberships import load_outside
from tim_server.storage.receipts import MAIN_THREAD, UNTHREADED
from tim_server.storage.unread import load_read_positions

MEMBER = "m.room.member"
_TOKEN = re.compile(r"n([0-9]{1,18})")
_MEMBERS_OF_CLASS = {NotifyClass.MESSAGE_ONE_TO_ONE: 2, NotifyClass.ENCRYPTED_ONE_TO_ONE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """An event as a client reads it, without its room id, and what the user's rules make of it."""

    room_id: RoomId
    event: bytes
    actions: Sequence[Action]
    is_read: bool
    ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationPage:
    """Notifications, newest first, and the token of the page after, where there may be one."""

    notifications: Sequence[Notification]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """What a page is made from; rooms and how far they are read by nid, rows by nid of the event."""

    rules: RuleSet
    rooms: Mapping[int, UserRoom]
    rows: Mapping[int, EventRow]
    read: Mapping[int, Mapping[str, int]]
    surroundings: Surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationList:
    """Reads pages; `limit_max` bounds them."""

    database: Database
    client_events: ClientEvents
    rules: KnownRules
    limit_max: int = 100

    async def page(
        self, requester: Requester, *, start: str | None, limit: int, only_highlights: bool
    ) -> NotificationPage:
        """One page, by the user's rules as they are now; it may hold less than `limit`. Raises `InvalidParam` for what
        is no token."""
        limit, user_id = min(limit, self.limit_max), requester.user_id
        async with self.database.read() as tx:
            now = await read_newest_position(tx)
            before = now + 1 if start is None else _position_of(start)
            found = await list_notified(tx, user_id, before=before, limit=limit, only_highlights=only_highlights)
            rules = (await self.rules.load_within(tx, (user_id,), now))[user_id]
            loaded = await self._load(tx, requester, found, rules or default_rules(user_id))
        wanted = NotifyLevel.HIGHLIGHT if only_highlights else NotifyLevel.NOTIFY
        levels = _levels(loaded, found)
        return NotificationPage(
            notifications=[
                self._notification(loaded, event, levels[event])
                for event in found
                if event.nid in loaded.rows and levels[event] >= wanted
            ],
            next_token=f"n{found[-1].position}" if len(found) == limit else None,
        )

    async def _load(
        self, tx: Connection, requester: Requester, found: Sequence[NotifiedEvent], rules: RuleSet
    ) -> _Loaded:
        user_id, room_nids = requester.user_id, {event.room_nid for event in found}
        histories = await load_histories(tx, user_id, room_nids)
        rows = await self._load_rows(tx, user_id, [event.nid for event in found], histories)
        reader = Reader(user_id=user_id, device_id=requester.device_id)
        read = await load_read_positions(tx, [(user_id, room_nid) for room_nid in room_nids])
        return _Loaded(
            rules=rules,
            rooms={room.room_nid: room for room in await load_rooms_of_user(tx, user_id)},
            rows=rows,
            read={room_nid: positions for (_, room_nid), positions in read.items()},
            surroundings=await self.client_events.load_surroundings(tx, reader, list(rows.values()), histories),
        )

    async def _load_rows(
        self, tx: Connection, user_id: UserId, nids: Sequence[int], histories: Histories
    ) -> dict[int, EventRow]:
        """The events that the user may see, and was there to be told of: others' only, as long as not redacted."""
        codec = self.client_events.codec
        unheard = {user_id, *await load_ignored_users(tx, codec, user_id)}
        stored = await load_events(tx, codec, nids)
        outside = await load_outside(tx, codec, set(nids) - stored.keys())  # invites into rooms elsewhere
        rows = [
            row
            for row in (*stored.values(), *(row.event for row in outside.values()))
            if row.sender not in unheard and row.redacted_by is None and is_presentable(row)
        ]
        invites = [row for row in rows if row.type == MEMBER and row.state_key == user_id]
        told = [row for row in rows if histories[row.room_nid].before((row.position or 0, row.minor)) == "join"]
        seen = await self.client_events.visibility.visible(tx, user_id, told, histories)
        return {row.nid: row for row in (*seen, *invites)}

    def _notification(self, loaded: _Loaded, event: NotifiedEvent, level: NotifyLevel) -> Notification:
        row, room = loaded.rows[event.nid], loaded.rooms[event.room_nid]
        version, read = room_version(room.room_version), loaded.read[event.room_nid]
        read_up_to = max(read.get(UNTHREADED, 0), read.get(row.thread_id or MAIN_THREAD, 0))
        return Notification(
            room_id=room.room_id,
            event=self.client_events.event(row, version, loaded.surroundings),
            actions=_actions(loaded.rules, row, version, (NotifyClass(event.notify_class), level)),
            is_read=event.position <= read_up_to,
            ts=row.origin_server_ts,
        )


def _levels(loaded: _Loaded, found: Sequence[NotifiedEvent]) -> dict[NotifiedEvent, NotifyLevel]:
    room_ids = {event.room_nid: loaded.rooms[event.room_nid].room_id for event in found if event.nid in loaded.rows}
    by_class = {room_nid: forecast_of(loaded.rules, room_id).levels for room_nid, room_id in room_ids.items()}
    return {
        event: by_class[event.room_nid][event.notify_class] if event.level is None else NotifyLevel(event.level)
        for event in found
        if event.nid in loaded.rows
    }


def _actions(
    rules: RuleSet, row: EventRow, version: RoomVersion, meaning: tuple[NotifyClass, NotifyLevel]
) -> list[Action]:
    """What the rules do, as far as their outcome is still what was noted of the event; else what that comes to."""
    notify_class, level = meaning
    context = PushContext(
        room_member_count=_MEMBERS_OF_CLASS.get(notify_class, 3),
        sender_power_level=float("inf") if notify_class is NotifyClass.ROOM_MENTION else 0,
        notification_levels={},
    )
    event = read_stored_pdu(decode_lenient(row.body), version, row.event_id)
    outcome = evaluate(rules, pushed_event(event), context)
    tweaks = outcome.tweaks if level_of(outcome) == level else {"highlight": True} if level == 2 else {}
    return ["notify", *({"set_tweak": tweak, "value": value} for tweak, value in tweaks.items())]


def _position_of(token: str) -> int:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("from: not a token of this server")
    return int(match[1])
