"""What a sync says, in the forms that came before it: a list of events, and a list of rooms.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events
https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tim_server.services.events.tokens import START, token_of
from tim_server.services.sync.request import STATE_AFTER

Json = dict[str, Any]

MEMBER = "m.room.member"
RECEIPT = "m.receipt"


def stream_events(answer: Json, invites: Mapping[str, Json]) -> list[Json]:
    """The events of an answer as one list; those of rooms name their room. `invites` are the invited user's member
    events by room id, since a sync tells only what strangers may see of them."""
    events = [*_events(answer, "account_data"), *presence_events(answer)]
    rooms = answer.get("rooms", {})
    events += [invites[room_id] for room_id in rooms.get("invite", {}) if room_id in invites]
    for section in ("join", "leave"):
        for room_id, told in rooms.get(section, {}).items():
            for part in ("timeline", "account_data", "ephemeral"):
                events += _in_room(room_id, _events(told, part))
    return events


def rooms_of(answer: Json, invites: Mapping[str, Json], published: Collection[str]) -> list[Json]:
    """The rooms of a first answer, with their state at its end."""
    rooms = answer.get("rooms", {})
    found = [
        {"room_id": room_id, "membership": "invite", "invite": invites[room_id]}
        for room_id in rooms.get("invite", {})
        if room_id in invites
    ]
    for section in ("join", "leave"):
        for room_id, told in rooms.get(section, {}).items():
            room = {"room_id": room_id, "membership": section, **room_contents(room_id, told, answer["next_batch"])}
            found.append(room)
    for room in found:
        room["visibility"] = "public" if room["room_id"] in published else "private"
    return found


def room_contents(room_id: str, told: Json, end: str) -> Json:
    """Messages, state and account data of a room that is joined or left."""
    timeline = told["timeline"]
    return {
        "messages": {
            "start": timeline.get("prev_batch", token_of(START)),
            "end": end,
            "chunk": _in_room(room_id, timeline["events"]),
        },
        "state": _in_room(room_id, _events(told, STATE_AFTER)),
        "account_data": _events(told, "account_data"),
    }


def receipts_of(answer: Json) -> list[Json]:
    """The receipts of all rooms of an answer."""
    joined = answer.get("rooms", {}).get("join", {})
    events = (event for room_id, told in joined.items() for event in _in_room(room_id, _events(told, "ephemeral")))
    return [event for event in events if event["type"] == RECEIPT]


def presence_events(answer: Json) -> list[Json]:
    """The presence of an answer. Its content names the user, as it did before events of this type had a sender."""
    events = _events(answer, "presence")
    return [{**event, "content": {**event["content"], "user_id": event["sender"]}} for event in events]


def joined_members(state: Iterable[Json]) -> set[str]:
    """The users who are joined by these state events."""
    return {
        event["state_key"]
        for event in state
        if event["type"] == MEMBER and event["content"].get("membership") == "join"
    }


def _events(told: Json, part: str) -> list[Json]:
    events: list[Json] = told.get(part, {}).get("events", [])
    return events


def _in_room(room_id: str, events: Iterable[Json]) -> list[Json]:
    return [{**event, "room_id": room_id} for event in events]
