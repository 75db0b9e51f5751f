"""Reading a PDU: the form that its room version asks for, and the limits of size.

Spec: https://spec.matrix.org/v1.19/client-server-api/#size-limits
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tim_server.matrix.canonical_json import DEPTH_MAX, CanonicalJsonError, is_deeper_than
from tim_server.matrix.errors import EventRejected
from tim_server.matrix.events.hashes import canonical_pdu, event_id_of
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, InvalidIdentifier, RoomId, UserId
from tim_server.matrix.room_versions import EventFormat, RoomVersion

PDU_BYTES_MAX = 65_536
KEY_BYTES_MAX = 255
PREV_EVENTS_MAX = 20
AUTH_EVENTS_MAX = 10
_KINDS: Mapping[str, type] = {
    "type": str,
    "sender": str,
    "content": dict,
    "hashes": dict,
    "signatures": dict,
    "prev_events": list,
    "auth_events": list,
    "depth": int,
    "origin_server_ts": int,
}


def read_pdu(pdu: Mapping[str, Any], version: RoomVersion, *, is_history: bool = False) -> Event:
    """The event of a PDU that another server or a client gave; raises `EventRejected` where its form is wrong.

    `is_history`: it was told as history, which "MUST NOT be validated" for how many events it refers to.
    """
    pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
    check_form(pdu, version)
    if not is_history:
        _check_reference_count(pdu)
    try:
        canonical = canonical_pdu(pdu, version)
        event_id = event_id_of(pdu, version)
    except (CanonicalJsonError, InvalidIdentifier) as error:
        raise EventRejected(f"the event is not valid: {error}") from error
    if len(canonical) > PDU_BYTES_MAX:
        raise EventRejected("the event is larger than 65,536 bytes")
    if canonical.count(b"{") + canonical.count(b"[") > DEPTH_MAX and is_deeper_than(pdu, DEPTH_MAX):
        raise EventRejected("the event is nested too deeply")
    return read_stored_pdu(pdu, version, event_id)


def read_stored_pdu(pdu: dict[str, Any], version: RoomVersion, event_id: EventId) -> Event:
    """The event of a PDU whose form has been checked, under its known id."""
    is_create = pdu["type"] == "m.room.create"
    room_id = "!" + event_id[1:] if version.room_id_is_create_hash and is_create else pdu["room_id"]
    return Event(
        event_id=event_id,
        room_id=RoomId(room_id),
        type=pdu["type"],
        state_key=pdu.get("state_key"),
        sender=UserId(pdu["sender"]),
        content=pdu["content"],
        origin_server_ts=pdu["origin_server_ts"],
        depth=pdu["depth"],
        prev_events=referenced_ids(pdu["prev_events"], version),
        auth_events=referenced_ids(pdu["auth_events"], version),
        redacts=redacted_id(pdu, version),
        pdu=pdu,
        room_version=version,
    )


def redacted_id(pdu: Mapping[str, Any], version: RoomVersion) -> EventId | None:
    """The event that an m.room.redaction names: at the top level in v1–v10, in the content since v11."""
    if pdu["type"] != "m.room.redaction":
        return None
    redacts = pdu["content"].get("redacts") if version.redacts_in_content else pdu.get("redacts")
    try:
        return EventId.parse(redacts) if isinstance(redacts, str) else None
    except InvalidIdentifier:
        return None


def referenced_ids(references: Sequence[Any], version: RoomVersion) -> tuple[EventId, ...]:
    """The ids of `prev_events` or `auth_events`: pairs of id and hashes in v1 and v2, plain ids since v3."""
    if version.event_format is EventFormat.SENDER_ASSIGNED_ID:
        return tuple(EventId(reference[0]) for reference in references)
    return tuple(map(EventId, references))


def check_form(pdu: Mapping[str, Any], version: RoomVersion) -> None:
    """Raises `EventRejected` unless each key that the format names has the right type and size."""
    for key, kind in _KINDS.items():
        _require(pdu, key, kind)
    if not all(isinstance(signatures, dict) for signatures in pdu["signatures"].values()):
        raise EventRejected("signatures has the wrong type")
    if not 0 <= pdu["depth"] <= 2**63 - 1 or not -(2**63) <= pdu["origin_server_ts"] <= 2**63 - 1:
        raise EventRejected("depth or origin_server_ts is out of range")
    if "state_key" in pdu:
        _require(pdu, "state_key", str)
    _check_sizes(pdu)
    _check_room_id(pdu, version)
    for reference in (*pdu["prev_events"], *pdu["auth_events"]):
        check_reference(reference, version)


def _check_reference_count(pdu: Mapping[str, Any]) -> None:
    if len(pdu["prev_events"]) > PREV_EVENTS_MAX or len(pdu["auth_events"]) > AUTH_EVENTS_MAX:
        raise EventRejected("the event lists too many prev_events or auth_events")


def _check_room_id(pdu: Mapping[str, Any], version: RoomVersion) -> None:
    try:
        UserId.parse(pdu["sender"])
        if version.room_id_is_create_hash and pdu["type"] == "m.room.create":
            if "room_id" in pdu:
                raise EventRejected("since v12 a create event has no room_id")
            return
        _require(pdu, "room_id", str)
        RoomId.parse(pdu["room_id"])
    except InvalidIdentifier as error:
        raise EventRejected(f"the event has an invalid identifier: {error}") from error


def _require(pdu: Mapping[str, Any], key: str, kind: type) -> None:
    value = pdu.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise EventRejected(f"{key} is missing or has the wrong type")


def _check_sizes(pdu: Mapping[str, Any]) -> None:
    for key in ("type", "state_key", "sender", "room_id", "event_id"):
        value = pdu.get(key)
        if isinstance(value, str) and not is_key_storable(value):
            raise EventRejected(f"{key} is longer than 255 bytes, or has characters that can't be stored")


def is_key_storable(value: str) -> bool:
    """At most 255 bytes of UTF-8, without NUL and lone surrogates."""
    try:
        return len(value.encode()) <= KEY_BYTES_MAX and "\0" not in value
    except UnicodeEncodeError:
        return False


def check_reference(reference: Any, version: RoomVersion) -> None:
    """Raises `EventRejected` unless it is an entry as `prev_events` and `auth_events` hold them."""
    if version.event_format is EventFormat.SENDER_ASSIGNED_ID:
        if not (isinstance(reference, list) and len(reference) == 2 and isinstance(reference[1], dict)):
            raise EventRejected("prev_events and auth_events must be pairs of event id and hashes")
        reference = reference[0]
    if not isinstance(reference, str) or not reference.startswith("$") or not is_key_storable(reference):
        raise EventRejected("prev_events and auth_events must be event ids")
