"""A device that syncs and keeps what it is told, as a client does."""

import json
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.sync.request import STATE_AFTER, SyncRequest
from tim_server.services.sync.sync import Sync
from tim_server.services.sync.tokens import parse_sync_token

StateKey = tuple[str, str]


@dataclass
class KeptRoom:
    """What a client knows of a room: the timeline's event ids since its last gap, and the state by key."""

    membership: str
    timeline: list[str] = field(default_factory=list)
    state: dict[StateKey, str] = field(default_factory=dict)


@dataclass
class Device:
    """Syncs for one user. `answers` holds every answer, `rooms` what they add up to."""

    sync: Sync
    user_id: UserId
    device_id: str = "DEVICE"
    filter: dict[str, Any] | str | None = None
    state_after: bool = False
    since: str | None = None
    rooms: dict[str, KeptRoom] = field(default_factory=dict)

    async def ask(self, *, timeout_ms: int = 0, **options: Any) -> dict[str, Any]:
        """One answer since the last one, without keeping anything of it."""
        asked = SyncRequest(
            since=None if self.since is None else parse_sync_token(self.since),
            filter=json.dumps(self.filter) if isinstance(self.filter, dict) else self.filter,
            timeout_ms=timeout_ms,
            state_after=(STATE_AFTER,) if self.state_after else (),
            **options,
        )
        requester = Requester(user_id=self.user_id, device_id=self.device_id, token_id=1)
        answer: dict[str, Any] = json.loads(await self.sync.sync(requester, asked))
        return answer

    async def next(self, *, timeout_ms: int = 0, **options: Any) -> dict[str, Any]:
        """One answer, which the device keeps."""
        answer = await self.ask(timeout_ms=timeout_ms, **options)
        self.keep(answer)
        return answer

    async def joined(self, room_id: RoomId, **options: Any) -> dict[str, Any]:
        """What the next answer says of a joined room; it must speak of it."""
        answer = await self.next(**options)
        joined: dict[str, Any] = answer["rooms"]["join"][room_id]
        return joined

    def keep(self, answer: dict[str, Any]) -> None:
        """Take in an answer as the specification says."""
        self.since = answer["next_batch"]
        sections = answer.get("rooms", {})
        for section in ("join", "leave"):
            for room_id, told in sections.get(section, {}).items():
                self._keep_room(room_id, section, told)
        for section in ("invite", "knock"):
            for room_id in sections.get(section, {}):
                self.rooms[room_id] = KeptRoom(section)  # stripped state takes precedence over what was known

    def _keep_room(self, room_id: str, membership: str, told: dict[str, Any]) -> None:
        room = self.rooms.setdefault(room_id, KeptRoom(membership))
        if membership == "join" and room.membership != "join":
            room.state = {}  # whoever joins gets the whole state
        room.membership = membership
        if told["timeline"]["limited"]:
            room.timeline = []
        timeline = told["timeline"]["events"]
        repeated = {event["event_id"] for event in timeline} & set(room.timeline)
        assert not repeated, "an event came twice"
        room.timeline += [event["event_id"] for event in timeline]
        states = told["state_after"]["events"] if self.state_after else [*told["state"]["events"], *timeline]
        for event in states:
            if "state_key" in event:
                room.state[event["type"], event["state_key"]] = event["event_id"]


def ids(told: dict[str, Any], part: str = "timeline") -> list[str]:
    """Event ids of a part of a room's section."""
    return [event["event_id"] for event in told[part]["events"]]


def keys(told: dict[str, Any], part: str = "state") -> set[StateKey]:
    """(type, state key) of the events of a part of a room's section."""
    return {(event["type"], event["state_key"]) for event in told[part]["events"]}
