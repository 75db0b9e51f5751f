"""Hashes of events: the content hash that an event carries, and the reference hash that names it since version 3.

Spec: https://spec.matrix.org/v1.19/server-server-api/#calculating-the-content-hash-for-an-event
"""

import hashlib
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from tim_server.matrix.canonical_json import encode, encode_relaxed
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.redaction import redact
from tim_server.matrix.identifiers import EventId, InvalidIdentifier
from tim_server.matrix.room_versions import EventFormat, RoomVersion

_NOT_IN_CONTENT_HASH = frozenset({"unsigned", "signatures", "hashes"})
_NOT_IN_REFERENCE_HASH = frozenset({"unsigned", "signatures", "age_ts"})


def canonical_pdu(pdu: Mapping[str, Any], version: RoomVersion) -> bytes:
    """The canonical bytes of a PDU under the rules of its room version; raises `CanonicalJsonError`."""
    return encode(dict(pdu)) if version.enforces_canonical_json else encode_relaxed(dict(pdu))


def unpadded_base64(data: bytes) -> str:
    """Base64 without the padding. Spec: https://spec.matrix.org/v1.19/appendices/#unpadded-base64"""
    return b64encode(data).decode().rstrip("=")


def decode_base64(text: str) -> bytes:
    """The bytes of Base64 with or without padding; raises `ValueError`."""
    unpadded = text.rstrip("=")
    try:
        return b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except ValueError as error:
        raise ValueError("not Base64") from error


def content_hash(pdu: Mapping[str, Any], version: RoomVersion) -> str:
    """The SHA-256 of the whole event without `unsigned`, `signatures` and `hashes`, in unpadded Base64."""
    hashed = {key: value for key, value in pdu.items() if key not in _NOT_IN_CONTENT_HASH}
    return unpadded_base64(hashlib.sha256(canonical_pdu(hashed, version)).digest())


def verify_content_hash(pdu: Mapping[str, Any], version: RoomVersion) -> None:
    """Raises `BadSignature` unless the event carries its content hash."""
    hashes = pdu.get("hashes")
    claimed = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(claimed, str):
        raise BadSignature("the event carries no content hash")
    try:
        matches = decode_base64(claimed) == decode_base64(content_hash(pdu, version))
    except ValueError as error:
        raise BadSignature("the content hash can't be compared") from error
    if not matches:
        raise BadSignature("the content hash does not match")


def signed_form(pdu: Mapping[str, Any], version: RoomVersion) -> bytes:
    """The redacted form without signatures: what is signed, and whose SHA-256 is the reference hash."""
    redacted = redact(pdu, version)
    return canonical_pdu({k: v for k, v in redacted.items() if k not in _NOT_IN_REFERENCE_HASH}, version)


def reference_hash(pdu: Mapping[str, Any], version: RoomVersion) -> bytes:
    """The SHA-256 of the redacted event.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#calculating-the-reference-hash-for-an-event
    """
    return hashlib.sha256(signed_form(pdu, version)).digest()


def event_id_of(pdu: Mapping[str, Any], version: RoomVersion) -> EventId:
    """The id of an event: what the PDU states in v1 and v2, since then its reference hash.

    Raises `CanonicalJsonError`; in v1 and v2 `InvalidIdentifier`, where the PDU has no id of the form `$id:domain`.
    """
    if version.event_format is EventFormat.SENDER_ASSIGNED_ID:
        stated = pdu.get("event_id")
        if not isinstance(stated, str) or ":" not in stated:
            raise InvalidIdentifier("event_id is missing, or names no server")
        return EventId.parse(stated)
    return event_id_from_hash(reference_hash(pdu, version), version)


def event_id_from_hash(digest: bytes, version: RoomVersion) -> EventId:
    """The event id that a reference hash makes: Base64 in v3, URL-safe since v4."""
    if version.event_format is EventFormat.HASHED_ID_BASE64:
        return EventId("$" + unpadded_base64(digest))
    return EventId("$" + urlsafe_b64encode(digest).decode().rstrip("="))
