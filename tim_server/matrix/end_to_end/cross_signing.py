"""Cross-signing keys: the master key of a user, and the keys that it has signed.

Spec: https://spec.matrix.org/v1.19/client-server-api/#cross-signing
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.end_to_end.errors import InvalidSignature
from tim_server.matrix.end_to_end.signed_objects import (
    ED25519,
    encode_object,
    is_signed,
    public_key_bytes,
    signatures_by,
    signed_part,
)
from tim_server.matrix.errors import BadJson, InvalidParam, TooLarge
from tim_server.matrix.identifiers import UserId

MASTER = "master"
SELF_SIGNING = "self_signing"
USER_SIGNING = "user_signing"
USAGES = (MASTER, SELF_SIGNING, USER_SIGNING)

CROSS_SIGNING_KEY_BYTES_MAX = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossSigningKey:
    """A key of a user. `public_key` is unpadded Base64, `value` the object with its owner's signatures and no
    others'."""

    usage: str
    public_key: str
    value: dict[str, Any]

    @property
    def key_id(self) -> str:
        """How signatures name the key."""
        return ED25519 + self.public_key


def read_cross_signing_key(value: Mapping[str, Any], usage: str, user_id: UserId) -> CrossSigningKey:
    """A key of an upload; raises `BadJson`, `InvalidParam` for another user's or one of another usage, `TooLarge`."""
    if value.get("user_id") != user_id:
        raise InvalidParam("The key is not that of the user")
    usages, keys = value.get("usage"), value.get("keys")
    if not isinstance(usages, list) or usage not in usages:
        raise InvalidParam(f"The key's usage must be {usage}")
    if not isinstance(keys, dict) or len(keys) != 1:
        raise BadJson("keys must be an object with one key")
    ((key_id, public_key),) = keys.items()
    if key_id != f"{ED25519}{public_key}" or public_key_bytes(public_key) is None:
        raise InvalidParam("The key must be an ed25519 key in unpadded Base64, and be named after itself")
    signatures = signatures_by(value, user_id)
    kept = signed_part(value) | ({"signatures": {str(user_id): signatures}} if signatures else {})
    if len(encode_object(kept)) > CROSS_SIGNING_KEY_BYTES_MAX:
        raise TooLarge(f"A key must have at most {CROSS_SIGNING_KEY_BYTES_MAX} bytes")
    return CrossSigningKey(usage=usage, public_key=public_key, value=kept)


def check_signed_by_master(key: CrossSigningKey, user_id: UserId, master_public_key: str) -> None:
    """ "Other keys must be signed by the user's master signing key." Raises `InvalidSignature`."""
    if not is_signed(key.value, user_id, master_public_key, master_public_key):
        raise InvalidSignature(f"The {key.usage} key is not signed by the master key")
