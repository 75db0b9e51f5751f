"""Events in the form in which clients read them, spliced from the stored bytes of their PDUs.

The head of an event (all but `room_id` and `unsigned`) is the same for every reader and remembered by nid; `unsigned`
is put together for each reader. Content is copied as bytes, not parsed.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-event-format
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import orjson

from tim_server.matrix.canonical_json import decode_lenient, encode_relaxed
from tim_server.matrix.events.redaction import redact
from tim_server.matrix.identifiers import RoomId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.storage.events import EventRow

HEADS_BYTES_MAX = 32 * 2**20
HEAD_BYTES = 200
"""About what a remembered head takes beside its bytes."""


class StoredPdu(Protocol):
    """A row that holds the PDU of an event, and whether it is redacted."""

    @property
    def body(self) -> bytes:
        """The PDU's JSON, decoded by the codec."""

    @property
    def redacted_by(self) -> int | None:
        """The nid of what redacts it."""


class _Pdu(msgspec.Struct):
    """The top level of a PDU, as far as clients read it."""

    type: msgspec.Raw
    content: msgspec.Raw
    sender: msgspec.Raw
    origin_server_ts: msgspec.Raw
    state_key: msgspec.Raw = msgspec.Raw()
    redacts: msgspec.Raw = msgspec.Raw()


class _RedactionContent(msgspec.Struct):
    redacts: msgspec.Raw = msgspec.Raw()


_read_pdu = msgspec.json.Decoder(_Pdu).decode
_read_redaction_content = msgspec.json.Decoder(_RedactionContent).decode


@dataclass(slots=True)
class EventHeads:
    """Heads of events by nid, least recently used dropped first. A redacted event has another head than before."""

    bytes_max: int = HEADS_BYTES_MAX
    _heads: OrderedDict[tuple[int, bool], bytes] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def head(self, row: EventRow, version: RoomVersion) -> bytes:
        """The event's JSON object without `room_id`, `unsigned` and the closing brace."""
        key = (row.nid, row.redacted_by is not None)
        head = self._heads.get(key)
        if head is not None:
            self._heads.move_to_end(key)
            return head
        head = event_head(row, version)
        self._heads[key] = head
        self._bytes += HEAD_BYTES + len(head)
        while self._bytes > self.bytes_max:
            _, dropped = self._heads.popitem(last=False)
            self._bytes -= HEAD_BYTES + len(dropped)
        return head

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._heads.clear()
        self._bytes = 0


def visible_pdu(row: StoredPdu, version: RoomVersion) -> bytes:
    """The event's PDU, in its redacted form where it is redacted."""
    if row.redacted_by is None:
        return row.body
    return encode_relaxed(redact(decode_lenient(row.body), version))


def content_json(row: StoredPdu, version: RoomVersion) -> bytes:
    """The event's content, in its redacted form where it is redacted."""
    return bytes(_read_pdu(visible_pdu(row, version)).content)


def event_head(row: EventRow, version: RoomVersion) -> bytes:
    """As `EventHeads.head`, made anew."""
    pdu = _read_pdu(visible_pdu(row, version))
    content, redacts = bytes(pdu.content), bytes(pdu.redacts)
    if row.type == "m.room.redaction" and row.state_key is None:
        content, redacts = _with_redacts_twice(content, redacts, version)
    parts = [b'{"type":', bytes(pdu.type), b',"content":', content, b',"sender":', bytes(pdu.sender)]
    parts += [b',"event_id":', orjson.dumps(row.event_id), b',"origin_server_ts":', bytes(pdu.origin_server_ts)]
    if row.state_key is not None:
        parts += [b',"state_key":', bytes(pdu.state_key)]
    if redacts:
        parts += [b',"redacts":', redacts]
    return b"".join(parts)


def _with_redacts_twice(content: bytes, redacts: bytes, version: RoomVersion) -> tuple[bytes, bytes]:
    """What a redaction redacts, at both places, so that old and new clients find it.

    Spec: https://spec.matrix.org/v1.19/rooms/v11/#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
    """
    within = bytes(_read_redaction_content(content).redacts)
    if version.redacts_in_content:
        return content, within
    if not redacts or within:
        return content, redacts
    rest = content.lstrip()[1:].lstrip()
    return b'{"redacts":' + redacts + (rest if rest == b"}" else b"," + rest), redacts


def client_event(head: bytes, *, room_id: RoomId | None, unsigned: bytes) -> bytes:
    """The whole event. `unsigned` is a JSON object; without `room_id` it has the form that `/sync` uses."""
    if room_id is None:
        return b"".join((head, b',"unsigned":', unsigned, b"}"))
    return b"".join((head, b',"room_id":', orjson.dumps(room_id), b',"unsigned":', unsigned, b"}"))


def stripped_event(row: StoredPdu, version: RoomVersion) -> bytes:
    """The stripped form, in which state is told to users who have not joined.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#stripped-state
    """
    pdu = _read_pdu(visible_pdu(row, version))
    parts = (b'{"type":', pdu.type, b',"state_key":', pdu.state_key, b',"content":', pdu.content)
    return b"".join(map(bytes, (*parts, b',"sender":', pdu.sender, b"}")))


def federation_event(row: EventRow, version: RoomVersion, *, unsigned: bytes) -> bytes:
    """The event as servers exchange it, for filters whose `event_format` is `federation`."""
    pdu = visible_pdu(row, version).rstrip()
    return b"".join((pdu[:-1], b',"unsigned":', unsigned, b"}"))
