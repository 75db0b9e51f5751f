"""Key documents: the keys that a server says it signs with, and until when others may rely on them. Pure.

Spec: https://spec.matrix.org/v1.19/server-server-api/#publishing-keys
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.read import is_key_storable
from tim_server.matrix.events.signatures import decode_base64, verify_json

KEYS_MAX = 100
"""How many keys of one document are looked at."""
KEYS_KEPT_MAX = 50
"""How many keys of one server are kept."""
TIME_MS_MAX = 2**53 - 1
TRUST_MS_MAX = 7 * 24 * 3600 * 1000
"""For how long after it was fetched a document may vouch for keys, whatever it says."""
ALGORITHM = "ed25519:"
VERIFY_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerKey:
    """A verify key (32 bytes), and the last moment at which it was valid. `is_old`: it is no longer signed with."""

    verify_key: bytes
    valid_until_ts: int
    is_old: bool = False

    def was_valid(self, at_ms: int | None) -> bool:
        """Whether the key was valid then; None asks nothing, as in room versions 1 to 4."""
        return at_ms is None or at_ms <= self.valid_until_ts


ServerKeys = Mapping[str, ServerKey]
"""Keys by key id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDocument:
    """What a server has signed of its keys. `value` is the whole object."""

    keys: ServerKeys
    valid_until_ts: int
    value: Mapping[str, Any]


def read_key_document(value: Any, server_name: str, *, fetched_ts: int) -> KeyDocument:
    """The document of a server; raises `BadSignature` unless it is that server's, and signed with each of its keys in
    use. Keys of unknown algorithms are left out.

    "Servers MUST use the lesser of this field and 7 days into the future when determining if a key is valid."
    """
    if not isinstance(value, dict) or value.get("server_name") != server_name:
        raise BadSignature("the keys are not those of the server")
    until = value.get("valid_until_ts")
    if not _is_time(until):
        raise BadSignature("valid_until_ts is missing")
    until = min(until, fetched_ts + TRUST_MS_MAX)
    keys: dict[str, ServerKey] = {}
    for key_id, key in _entries(value.get("old_verify_keys")):
        expired_ts = key.get("expired_ts")
        if _is_time(expired_ts):
            keys[key_id] = ServerKey(verify_key=_verify_key(key), valid_until_ts=expired_ts, is_old=True)
    in_use = dict(_entries(value.get("verify_keys")))
    if not in_use:
        raise BadSignature("the server names no key that it signs with")
    for key_id, key in in_use.items():
        verify_key = _verify_key(key)
        verify_json(value, server_name, key_id, verify_key)
        keys[key_id] = ServerKey(verify_key=verify_key, valid_until_ts=until)
    return KeyDocument(keys=keys, valid_until_ts=until, value=value)


def _is_time(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= TIME_MS_MAX


def _entries(keys: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Keys of the algorithm that is known."""
    if not isinstance(keys, dict) or len(keys) > KEYS_MAX:
        return []
    return [
        (key_id, key)
        for key_id, key in keys.items()
        if key_id.startswith(ALGORITHM) and is_key_storable(key_id) and isinstance(key, dict)
    ]


def _verify_key(key: Mapping[str, Any]) -> bytes:
    try:
        verify_key = decode_base64(key["key"])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise BadSignature("a key is not Base64") from None
    if len(verify_key) != VERIFY_KEY_BYTES:
        raise BadSignature("a key has not 32 bytes")
    return verify_key


def merged(known: ServerKeys, newer: ServerKeys, *, is_direct: bool) -> dict[str, ServerKey]:
    """What is known of a server's keys once a newer document has been seen: a key never becomes another one, nor
    something less than it was, except that it may turn out to be no longer in use. That a key is in use again only the
    server itself can say (`is_direct`), not what a notary has kept. Keys that the newer document does not name stay,
    for as long as they were valid; of more than `KEYS_KEPT_MAX` those are kept that were valid last."""
    keys = dict(known)
    for key_id, key in newer.items():
        before = known.get(key_id)
        if before is None:
            keys[key_id] = key
        elif before.verify_key == key.verify_key and (key.is_old or is_direct or not before.is_old):
            is_shorter = not key.is_old and before.valid_until_ts > key.valid_until_ts
            keys[key_id] = replace(key, valid_until_ts=before.valid_until_ts) if is_shorter else key
    if len(keys) <= KEYS_KEPT_MAX:
        return keys
    last = sorted(keys.items(), key=lambda item: (-item[1].valid_until_ts, item[0]))
    return dict(last[:KEYS_KEPT_MAX])
