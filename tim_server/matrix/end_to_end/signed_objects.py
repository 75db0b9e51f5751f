"""Signed objects: keys of devices and of users, which their owners and others sign.

Spec: https://spec.matrix.org/v1.19/appendices/#signing-json
"""

from collections.abc import Mapping
from typing import Any

from tim_server.matrix import canonical_json
from tim_server.matrix.errors import BadJson, BadSignature
from tim_server.matrix.events.signatures import decode_base64, verify_json
from tim_server.matrix.identifiers import UserId

ED25519 = "ed25519:"
_PUBLIC_KEY_BYTES = 32
_NOT_SIGNED = ("signatures", "unsigned")


def signed_part(value: Mapping[str, Any]) -> dict[str, Any]:
    """What signatures are about: all but `signatures` and `unsigned`."""
    return {key: item for key, item in value.items() if key not in _NOT_SIGNED}


def encode_object(value: Any) -> bytes:
    """The canonical bytes; raises `BadJson` for numbers that canonical JSON can't hold."""
    try:
        return canonical_json.encode(value)
    except (canonical_json.CanonicalJsonError, RecursionError):
        raise BadJson("The JSON holds a number that canonical JSON can't hold, or is nested too deeply") from None


def signatures_by(value: Mapping[str, Any], signer: UserId) -> dict[str, str]:
    """The signatures that the object says this user has made, by key id; raises `BadJson` for another form."""
    signatures = value.get("signatures", {})
    of_signer = signatures.get(signer, {}) if isinstance(signatures, dict) else None
    if not isinstance(of_signer, dict) or not all(isinstance(item, str) for item in of_signer.values()):
        raise BadJson("signatures must hold an object of strings by user")
    return of_signer


def public_key_bytes(text: Any) -> bytes | None:
    """The bytes of an ed25519 public key in Base64; None for what is none."""
    if not isinstance(text, str):
        return None
    try:
        key = decode_base64(text)
    except ValueError:
        return None
    return key if len(key) == _PUBLIC_KEY_BYTES else None


def is_signed(value: Mapping[str, Any], signer: UserId, key_id: str, public_key: str) -> bool:
    """Whether this user has signed the object with the ed25519 key of this id."""
    key = public_key_bytes(public_key)
    if key is None:
        return False
    try:
        verify_json(value, signer, ED25519 + key_id, key)
    except BadSignature:
        return False
    return True
