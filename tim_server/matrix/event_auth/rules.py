"""The authorisation rules of an event, in the order of the specification. v12 numbering; older versions say otherwise.

Spec: https://spec.matrix.org/v1.19/rooms/v12/#authorization-rules
"""

from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth.membership_rules import check_membership, membership_of
from tim_server.matrix.event_auth.power_level_rules import check_power_levels
from tim_server.matrix.event_auth.power_levels import PowerLevels
from tim_server.matrix.event_auth.selection import CREATE, POWER_LEVELS, StateMap
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import InvalidIdentifier, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS, RoomVersion


def check_auth_rules(event: Event, auth_state: StateMap, version: RoomVersion) -> None:
    """Raises `EventRejected` unless the rules allow `event` in the state `auth_state`.

    `auth_state` holds the events of `auth_types_for`, and in every version the create event.
    """
    if event.type == "m.room.create":
        _check_create(event, version)
        return
    create = auth_state.get(CREATE)
    # Rule 2, since v12: "If the event's room_id is not an event ID for an accepted m.room.create event, with the sigil
    # ! instead of $, reject." Before: "If there is no m.room.create event among the entries, reject."
    if create is None:
        raise EventRejected("the room has no create event")
    if version.room_id_is_create_hash and create.event_id[1:] != event.room_id[1:]:
        raise EventRejected("the room id is not that of the create event")
    # Rule 4: "If the content of the m.room.create event has the property m.federate set to false, and the sender
    # domain of the event does not match the sender domain of the create event, reject."
    if create.content.get("m.federate") is False and event.sender.server_name != create.sender.server_name:
        raise EventRejected("the room does not federate")
    # v1–v5: "If type is m.room.aliases: if event has no state_key, reject; if sender's domain doesn't match state_key,
    # reject; otherwise, allow."
    if version.special_case_aliases_auth and event.type == "m.room.aliases":
        if event.state_key is None or event.sender.server_name != event.state_key:
            raise EventRejected("aliases may only be set for the sender's own server")
        return
    power = PowerLevels.of(auth_state.get(POWER_LEVELS), create)
    # Rule 5.
    if event.type == "m.room.member":
        check_membership(event, auth_state, power, version)
        return
    _check_other(event, auth_state, power, version)


def _check_create(event: Event, version: RoomVersion) -> None:
    """Rule 1: "If type is m.room.create"."""
    # 1.1: "If it has any prev_events, reject."
    if event.prev_events:
        raise EventRejected("a create event has no prev_events")
    # 1.2: "If the event has a room_id, reject" since v12; before: "If the domain of the room_id does not match the
    # domain of the sender, reject."
    if version.room_id_is_create_hash:
        if "room_id" in event.pdu:
            raise EventRejected("a create event has no room_id since v12")
    elif event.room_id.server_name != event.sender.server_name:
        raise EventRejected("the room id is not of the sender's server")
    # 1.3: "If content.room_version is present and is not a recognised version, reject."
    stated = event.content.get("room_version", "1")
    if not isinstance(stated, str) or stated not in ROOM_VERSIONS:
        raise EventRejected("the room version is not recognised")
    # v1–v10: "If content has no creator property, reject."
    if not version.implicit_room_creator and "creator" not in event.content:
        raise EventRejected("a create event names its creator")
    # 1.4, since v12: "If additional_creators is present in content and is not an array of strings where each string
    # passes the same user ID validation applied to sender, reject."
    if version.privileged_creators and "additional_creators" in event.content:
        _check_additional_creators(event.content["additional_creators"])


def _check_additional_creators(value: object) -> None:
    if not isinstance(value, list):
        raise EventRejected("additional_creators is not a list")
    for user_id in value:
        try:
            UserId.parse(user_id)
        except (InvalidIdentifier, AttributeError, TypeError) as error:
            raise EventRejected("additional_creators holds what is no user id") from error


def _check_other(event: Event, auth_state: StateMap, power: PowerLevels, version: RoomVersion) -> None:
    """Rules 6 to 11: everything but create, aliases and memberships."""
    # Rule 6: "If the sender's current membership state is not join, reject."
    if membership_of(auth_state, event.sender) != "join":
        raise EventRejected("the sender is not joined to the room")
    sender_level = power.user_level(event.sender)
    # Rule 7: "If type is m.room.third_party_invite: allow if and only if sender's current power level is greater than
    # or equal to the invite level."
    if event.type == "m.room.third_party_invite":
        if sender_level < power.invite:
            raise EventRejected("the sender has not the power to invite")
        return
    # Rule 8: "If the event type's required power level is greater than the sender's power level, reject."
    required = power.event_level(event.type, is_state=event.state_key is not None)
    if required > sender_level:
        raise EventRejected(f"sending {event.type} needs power level {required}")
    # Rule 9: "If the event has a state_key that starts with an @ and does not match the sender, reject."
    if event.state_key is not None and event.state_key.startswith("@") and event.state_key != event.sender:
        raise EventRejected("the state key is another user's id")
    # Rule 10.
    if event.type == "m.room.power_levels":
        check_power_levels(event, auth_state, power, version)
    # v1, v2: "If type is m.room.redaction".
    if version.redaction_power_level_auth and event.type == "m.room.redaction":
        _check_redaction(event, sender_level, power)


def _check_redaction(event: Event, sender_level: float, power: PowerLevels) -> None:
    """v1, v2: "If the sender's power level is greater than or equal to the redact level, allow. If the domain of the
    event_id of the event being redacted is the same as the domain of the event_id of the redaction, allow. Otherwise,
    reject."
    """
    if sender_level >= power.redact:
        return
    if event.redacts is not None and event.redacts.server_name == event.event_id.server_name:
        return
    raise EventRejected("the sender has not the power to redact")
