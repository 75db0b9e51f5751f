"""Signatures of JSON objects and of events: ed25519 over canonical JSON.

Spec: https://spec.matrix.org/v1.19/appendices/#signing-json
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nacl.signing
from nacl.exceptions import BadSignatureError

from tim_server.matrix.canonical_json import CanonicalJsonError, encode_relaxed
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.hashes import decode_base64, signed_form, unpadded_base64
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName, UserId
from tim_server.matrix.room_versions import EventFormat, RoomVersion

__all__ = [
    "SigningKey",
    "decode_base64",
    "required_signers",
    "sign_event",
    "sign_json",
    "verify_event_signature",
    "verify_json",
    "verify_message",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A server's signing key. `key_id` is `ed25519:` and a version."""

    key_id: str
    key: nacl.signing.SigningKey

    @property
    def verify_key(self) -> bytes:
        """The 32 bytes of the public key."""
        return bytes(self.key.verify_key)

    def sign(self, message: bytes) -> str:
        """The signature in unpadded Base64."""
        return unpadded_base64(self.key.sign(message).signature)


def _without_signatures(value: Mapping[str, Any]) -> bytes:
    return encode_relaxed({k: v for k, v in value.items() if k not in ("signatures", "unsigned")})


def sign_json(value: Mapping[str, Any], server_name: str, key: SigningKey) -> dict[str, Any]:
    """A copy of `value` with this signature added, beside those that it has, as far as they have the form of some."""
    signatures = {name: dict(keys) for name, keys in value.get("signatures", {}).items() if isinstance(keys, dict)}
    signatures.setdefault(str(server_name), {})[key.key_id] = key.sign(_without_signatures(value))
    return {**value, "signatures": signatures}


def verify_json(value: Mapping[str, Any], entity: str, key_id: str, verify_key: bytes) -> None:
    """Raises `BadSignature` unless `entity` has signed `value` with this key."""
    try:
        message = _without_signatures(value)
    except CanonicalJsonError as error:
        raise BadSignature("the object has no canonical form") from error
    _verify(message, value, entity, key_id, verify_key)


def sign_event(pdu: Mapping[str, Any], version: RoomVersion, server_name: str, key: SigningKey) -> dict[str, Any]:
    """A copy of the PDU with this server's signature over its redacted form added."""
    signatures = {name: dict(keys) for name, keys in pdu.get("signatures", {}).items()}
    signatures.setdefault(str(server_name), {})[key.key_id] = key.sign(signed_form(pdu, version))
    return {**pdu, "signatures": signatures}


def verify_event_signature(
    pdu: Mapping[str, Any], version: RoomVersion, entity: str, key_id: str, verify_key: bytes
) -> None:
    """Raises `BadSignature` unless `entity` has signed the redacted form of the event with this key.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events
    """
    try:
        message = signed_form(pdu, version)
    except CanonicalJsonError as error:
        raise BadSignature("the event has no canonical form") from error
    _verify(message, pdu, entity, key_id, verify_key)


def _verify(message: bytes, value: Mapping[str, Any], entity: str, key_id: str, verify_key: bytes) -> None:
    # "Removes any signing key identifiers from the entry with algorithms it doesn't understand."
    if not key_id.startswith("ed25519:"):
        raise BadSignature("the algorithm of the signature is not known")
    try:
        signature = value["signatures"][entity][key_id]
    except (KeyError, TypeError) as error:
        raise BadSignature(f"not signed by {entity} with {key_id}") from error
    try:
        verify_message(message, signature, verify_key)
    except BadSignature as error:
        raise BadSignature(f"the signature of {entity} does not verify") from error


def verify_message(message: bytes, signature: Any, verify_key: bytes) -> None:
    """Raises `BadSignature` unless `signature`, in Base64, is that of the key over the message."""
    try:
        nacl.signing.VerifyKey(verify_key).verify(message, decode_base64(signature))
    except (BadSignatureError, ValueError, TypeError, AttributeError) as error:
        raise BadSignature("the signature does not verify") from error


def required_signers(event: Event) -> set[ServerName]:
    """The servers that must have signed the event.

    The server of the sender, unless the event is an invite through a third party; in v1 and v2 that of the event id;
    since v8 that of the user whom a member event names as having authorised the join: "If the event is not validly
    signed by the homeserver of the user ID denoted by the key, reject." Raises `BadSignature` where that is no user id.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events
    """
    signers: set[ServerName] = set()
    membership = event.content.get("membership") if event.type == "m.room.member" else None
    if not (membership == "invite" and "third_party_invite" in event.content):
        signers.add(event.sender.server_name)
    if event.room_version.event_format is EventFormat.SENDER_ASSIGNED_ID:
        signers.add(event.event_id.server_name)
    key = "join_authorised_via_users_server"
    if event.room_version.restricted_join_rule and event.type == "m.room.member" and key in event.content:
        try:
            signers.add(UserId.parse(event.content[key]).server_name)
        except (InvalidIdentifier, AttributeError, TypeError) as error:
            raise BadSignature("join_authorised_via_users_server is not a user id") from error
    return signers
