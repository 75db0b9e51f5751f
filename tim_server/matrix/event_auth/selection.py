"""Which state events authorise an event, and the checks of those that a PDU lists.

Spec: https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tim_server.matrix.errors import EventRejected
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.matrix.room_versions import RoomVersion

StateMap = Mapping[tuple[str, str], Event]

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")
JOIN_RULES = ("m.room.join_rules", "")


def auth_types_for(
    event_type: str, sender: str, state_key: str | None, content: Mapping[str, Any], version: RoomVersion
) -> set[tuple[str, str]]:
    """The keys of the state events that `auth_events` should hold; since v12 the create event is not selected."""
    # "The m.room.create event": has none itself.
    if event_type == "m.room.create":
        return set()
    # "The current m.room.power_levels event, if any. The sender's current m.room.member event, if any."
    keys = {POWER_LEVELS, ("m.room.member", str(sender))}
    if not version.room_id_is_create_hash:
        keys.add(CREATE)
    if event_type != "m.room.member" or state_key is None:
        return keys
    # A member event is also authorised by "the target's current m.room.member event, if any."
    keys.add(("m.room.member", str(state_key)))
    membership = content.get("membership")
    # "If membership is join, invite or knock, the current m.room.join_rules event, if any."
    if membership in ("join", "invite", "knock"):
        keys.add(JOIN_RULES)
    # "If membership is invite and content contains a third_party_invite property, the current
    # m.room.third_party_invite event with state_key matching content.third_party_invite.signed.token, if any."
    if membership == "invite" and (token := third_party_token(content)) is not None:
        keys.add(("m.room.third_party_invite", token))
    # Since v8: "If membership is join, content.join_authorised_via_users_server is present, and the room version
    # supports restricted rooms, then the m.room.member event with state_key matching it."
    authorised_via = content.get("join_authorised_via_users_server")
    if version.restricted_join_rule and membership == "join" and isinstance(authorised_via, str):
        keys.add(("m.room.member", authorised_via))
    return keys


def auth_ids(event: Event) -> tuple[EventId, ...]:
    """What authorises an event: those in its `auth_events`, and since v12 the create event, which the room id names."""
    if event.room_version.room_id_is_create_hash and event.type != "m.room.create":
        return (*event.auth_events, create_id_of(event.room_id))
    return event.auth_events


def create_id_of(room_id: RoomId) -> EventId:
    """The create event that the room id names since v12."""
    return EventId("$" + room_id[1:])


def third_party_token(content: Mapping[str, Any]) -> str | None:
    """`content.third_party_invite.signed.token`, where there is one."""
    value: Any = content
    for key in ("third_party_invite", "signed", "token"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def check_auth_events(event: Event, auth_events: Iterable[Event], rejected: frozenset[EventId] = frozenset()) -> None:
    """The rule "Considering the event's auth_events". Raises `EventRejected`.

    `rejected` are those that were themselves rejected. Rule 2 in v1–v11, rule 3 since v12.
    """
    if event.type == "m.room.create":
        return
    version = event.room_version
    expected = auth_types_for(event.type, event.sender, event.state_key, event.content, version)
    seen: set[tuple[str, str]] = set()
    for auth_event in auth_events:
        key = (auth_event.type, auth_event.state_key or "")
        # "If there are duplicate entries for a given type and state_key pair, reject."
        if auth_event.state_key is None or key in seen:
            raise EventRejected("auth_events holds a duplicate, or an event that is no state")
        seen.add(key)
        # "If there are entries whose type and state_key don't match those specified by the selection, reject."
        if key not in expected:
            raise EventRejected(f"auth_events holds an event of type {auth_event.type}, which does not authorise this")
        # "If there are entries which were themselves rejected, reject."
        if auth_event.event_id in rejected:
            raise EventRejected("auth_events holds a rejected event")
        # "If any event in auth_events has a room_id which does not match that of the event, reject."
        if auth_event.room_id != event.room_id:
            raise EventRejected("auth_events holds an event of another room")
    # v1–v11: "If there is no m.room.create event among the entries, reject."
    if not version.room_id_is_create_hash and CREATE not in seen:
        raise EventRejected("auth_events holds no create event")
