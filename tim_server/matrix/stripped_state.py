"""Stripped state: what of a room is told to users who are not in it, and the form in which they are told it.

Spec: https://spec.matrix.org/v1.19/client-server-api/#stripped-state
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tim_server.matrix.canonical_json import CanonicalJsonError, encode_relaxed
from tim_server.matrix.events.read import is_key_storable
from tim_server.matrix.identifiers import InvalidIdentifier, UserId

STRIPPED_TYPES = (
    "m.room.create",
    "m.room.join_rules",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.canonical_alias",
    "m.room.encryption",
)
"""Types of the state that is told, with an empty state key; beside them the member event of who invites."""

MEMBER = "m.room.member"


def stripped(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The stripped form of a state event, whole or stripped already; None where it is none."""
    kept: dict[str, Any] = {key: event.get(key) for key in ("type", "state_key", "content", "sender")}
    if not all(isinstance(kept[key], str) for key in ("type", "state_key", "sender")):
        return None
    try:
        UserId.parse(kept["sender"])
    except InvalidIdentifier:
        return None
    is_fit = isinstance(kept["content"], dict) and is_key_storable(kept["type"]) and is_key_storable(kept["state_key"])
    return kept if is_fit else None


def stripped_json(events: Iterable[Mapping[str, Any]], *, user_id: str, size_bytes_max: int) -> bytes:
    """A JSON array of stripped events, each state key once, without the user's own member event, which is told apart.
    The state that tells most of a room comes first; what would exceed the size is left out."""
    by_key: dict[tuple[str, str], Mapping[str, Any]] = {}
    for event in events:
        by_key.setdefault((event["type"], event["state_key"]), event)
    by_key.pop((MEMBER, user_id), None)
    parts: list[bytes] = []
    left = size_bytes_max - 2
    for key in sorted(by_key, key=_rank):
        try:
            part = encode_relaxed(dict(by_key[key]))
        except CanonicalJsonError:
            continue
        if len(part) + 1 <= left:
            parts.append(part)
            left -= len(part) + 1
    return b"[" + b",".join(parts) + b"]"


def _rank(key: tuple[str, str]) -> tuple[int, tuple[str, str]]:
    known = (*STRIPPED_TYPES, MEMBER)
    return (known.index(key[0]) if key[0] in known else len(known), key)
