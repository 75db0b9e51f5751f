"""Building an event: hashed, named and signed.

Spec: https://spec.matrix.org/v1.19/server-server-api/#signing-events
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.canonical_json import CanonicalJsonError, check_numbers, encode_checked, encode_relaxed
from tim_server.matrix.errors import BadJson, TooLarge
from tim_server.matrix.events.hashes import event_id_from_hash, unpadded_base64
from tim_server.matrix.events.read import KEY_BYTES_MAX, PDU_BYTES_MAX, is_key_storable
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.redaction import redact
from tim_server.matrix.events.signatures import SigningKey
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import EventFormat, RoomVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """The server that makes events, and the key that it signs with."""

    server_name: ServerName
    key: SigningKey


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPdu:
    """What an event is to say. `room_id` None: a create event since v12, whose hash becomes the room id.

    `event_id` is needed in v1 and v2, and not allowed since v3. `redacts` is what an m.room.redaction names; it goes
    where the room version has it.
    """

    room_id: RoomId | None
    type: str
    state_key: str | None
    sender: UserId
    content: dict[str, Any]
    prev_events: tuple[EventId, ...]
    auth_events: tuple[EventId, ...]
    depth: int
    origin_server_ts: int
    redacts: EventId | None = None
    event_id: EventId | None = None


def build_event(new: NewPdu, version: RoomVersion, author: Author) -> tuple[Event, bytes]:
    """The event, hashed and signed, and its canonical bytes.

    Raises `BadJson` for content without a canonical form, `TooLarge` beyond the limits of size.
    """
    _check(new, version)
    pdu = _unhashed(new, version)
    encode = encode_checked if version.enforces_canonical_json else encode_relaxed
    try:
        if version.enforces_canonical_json:
            check_numbers(new.content)
        pdu["hashes"] = {"sha256": unpadded_base64(hashlib.sha256(encode(pdu)).digest())}
        signed = encode(redact(pdu, version))
        event_id = new.event_id or event_id_from_hash(hashlib.sha256(signed).digest(), version)
        pdu["signatures"] = {str(author.server_name): {author.key.key_id: author.key.sign(signed)}}
        body = bytes(memoryview(encode(pdu)))  # a copy of its size: orjson's own result holds a buffer of 4 KiB
    except CanonicalJsonError as error:
        raise BadJson(f"The content is not canonical JSON: {error}") from error
    if len(body) > PDU_BYTES_MAX:
        raise TooLarge("The event is larger than 65,536 bytes")
    event = Event(
        event_id=event_id,
        room_id=new.room_id or RoomId("!" + event_id[1:]),
        type=new.type,
        state_key=new.state_key,
        sender=new.sender,
        content=pdu["content"],
        origin_server_ts=new.origin_server_ts,
        depth=new.depth,
        prev_events=new.prev_events,
        auth_events=new.auth_events,
        redacts=new.redacts,
        pdu=pdu,
        room_version=version,
    )
    return event, body


def _check(new: NewPdu, version: RoomVersion) -> None:
    if (new.event_id is not None) is not (version.event_format is EventFormat.SENDER_ASSIGNED_ID):
        raise ValueError("events have an event_id of the sender's choice in room versions 1 and 2 only")
    for value in (new.type, new.state_key, new.sender):
        if value is None or is_key_storable(value):
            continue
        if len(value.encode(errors="replace")) > KEY_BYTES_MAX:
            raise TooLarge("Type, state key and sender may have at most 255 bytes")
        raise BadJson("Type, state key and sender may hold neither NUL nor lone surrogates")


def _unhashed(new: NewPdu, version: RoomVersion) -> dict[str, Any]:
    with_hashes = version.event_format is EventFormat.SENDER_ASSIGNED_ID
    pdu: dict[str, Any] = {
        "type": new.type,
        "sender": new.sender,
        "content": new.content,
        "prev_events": [[e, {}] for e in new.prev_events] if with_hashes else new.prev_events,
        "auth_events": [[e, {}] for e in new.auth_events] if with_hashes else new.auth_events,
        "depth": new.depth,
        "origin_server_ts": new.origin_server_ts,
    }
    if new.room_id is not None:
        pdu["room_id"] = new.room_id
    if new.state_key is not None:
        pdu["state_key"] = new.state_key
    if new.event_id is not None:
        pdu["event_id"] = new.event_id
    if new.redacts is not None:
        if version.redacts_in_content:  # since v11
            pdu["content"] = {**new.content, "redacts": new.redacts}
        else:
            pdu["redacts"] = new.redacts
    return pdu
