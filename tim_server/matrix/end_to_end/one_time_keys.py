"""One-time keys and fallback keys.

Spec: https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.end_to_end.signed_objects import encode_object
from tim_server.matrix.errors import BadJson, InvalidParam, TooLarge
from tim_server.matrix.identifiers import ID_BYTES_MAX

ONE_TIME_KEY_BYTES_MAX = 8_192
SIGNED_CURVE25519 = "signed_curve25519"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeKey:
    """A key to be given out; `value` is JSON, a string or an object."""

    algorithm: str
    key_id: str
    value: bytes

    @property
    def key_hash(self) -> bytes:
        """Tells the key from others with its id, also once it is gone."""
        return hashlib.sha256(self.value).digest()


def read_one_time_keys(keys: Mapping[str, Any]) -> tuple[OneTimeKey, ...]:
    """The keys of an upload, from `<algorithm>:<key_id>` to the key; raises `BadJson`, `InvalidParam`, `TooLarge`."""
    return tuple(_read(name, value) for name, value in keys.items())


def read_fallback_keys(keys: Mapping[str, Any]) -> tuple[OneTimeKey, ...]:
    """As `read_one_time_keys`. "There can only be at most one key per algorithm uploaded"."""
    read = read_one_time_keys(keys)
    if len({key.algorithm for key in read}) < len(read):
        raise InvalidParam("There can be only one fallback key for each algorithm")
    return read


def _read(name: str, value: Any) -> OneTimeKey:
    algorithm, colon, key_id = name.partition(":")
    if not (algorithm and colon and key_id) or len(name.encode()) > ID_BYTES_MAX:
        raise InvalidParam(
            f"The name of a key must be an algorithm, a colon and an ID, of {ID_BYTES_MAX} bytes at most"
        )
    if not isinstance(value, str | dict):
        raise BadJson("A key must be a string or an object")
    if algorithm == SIGNED_CURVE25519 and not _is_key_object(value):
        raise BadJson("A signed key must be an object with key and signatures")
    encoded = encode_object(value)
    if len(encoded) > ONE_TIME_KEY_BYTES_MAX:
        raise TooLarge(f"A key must have at most {ONE_TIME_KEY_BYTES_MAX} bytes")
    return OneTimeKey(algorithm=algorithm, key_id=key_id, value=encoded)


def _is_key_object(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("key"), str) and isinstance(value.get("signatures"), dict)
