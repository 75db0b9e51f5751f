"""Relations between events, as the content of the child states them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import ID_BYTES_MAX, EventId, InvalidIdentifier

ANNOTATION = "m.annotation"
REFERENCE = "m.reference"
REPLACE = "m.replace"
THREAD = "m.thread"

ENCRYPTED = "m.room.encrypted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """How an event relates to its parent `event_id`, of the same room. `key` is that of an annotation."""

    rel_type: str
    event_id: EventId
    key: str | None = None


def relation_of(event_type: str, state_key: str | None, content: Mapping[str, Any]) -> Relation | None:
    """The relation that an event states; None where it states none, or one that breaks rules which the child alone
    shows: such relationships "are simply ignored".

    A rich reply has no `rel_type`, and is no relation in this sense.
    """
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    rel_type, event_id, key = relates_to.get("rel_type"), relates_to.get("event_id"), relates_to.get("key")
    if not isinstance(rel_type, str) or not isinstance(event_id, str) or not _is_identifier(rel_type):
        return None
    try:
        parent = EventId.parse(event_id)
    except InvalidIdentifier:
        return None
    if rel_type == REPLACE and not _may_replace(event_type, state_key, content):
        return None
    if rel_type != ANNOTATION:
        return Relation(rel_type=rel_type, event_id=parent)
    # "should contain a `key` that indicates the annotation being applied"; in an encrypted event it may be hidden.
    if key is None and event_type == ENCRYPTED:
        return Relation(rel_type=rel_type, event_id=parent)
    return Relation(rel_type=rel_type, event_id=parent, key=key) if isinstance(key, str) and _is_text(key) else None


def _may_replace(event_type: str, state_key: str | None, content: Mapping[str, Any]) -> bool:
    """Whether the event may be a replacement, whatever it replaces.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events
    """
    # "The replacement and original events must not have a `state_key` property"
    if state_key is not None:
        return False
    # "The replacement event" – "once decrypted, if appropriate" – "must have an `m.new_content` property"
    return event_type == ENCRYPTED or isinstance(content.get("m.new_content"), dict)


def _is_identifier(rel_type: str) -> bool:
    """1 to 255 bytes of UTF-8, without NUL."""
    return _is_text(rel_type) and 0 < len(rel_type.encode()) <= ID_BYTES_MAX and "\0" not in rel_type


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: lone surrogates have no bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
