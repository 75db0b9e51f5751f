"""The format in which clients read events, spliced from stored bytes."""

from typing import Any

import orjson
import pytest

from tests.services.events.rows import ALICE, make_row
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.matrix.room_versions import V2, V10, V11, RoomVersion
from tim_server.services.events.client_format import (
    HEAD_BYTES,
    EventHeads,
    client_event,
    event_head,
    federation_event,
    stripped_event,
)
from tim_server.storage.events import EventRow

ROOM_ID = RoomId("!room:hospital.example")


def written(row: EventRow, version: RoomVersion = V11, **options: Any) -> dict[str, Any]:
    """The event as a client reads it."""
    options = {"room_id": None, "unsigned": b"{}", **options}
    event: dict[str, Any] = orjson.loads(client_event(event_head(row, version), **options))
    return event


def test_only_what_clients_read_is_there() -> None:
    assert written(make_row(), room_id=ROOM_ID, unsigned=b'{"age":4}') == {
        "type": "m.room.message",
        "content": {"body": "Hello", "msgtype": "m.text"},
        "sender": ALICE,
        "event_id": "$event",
        "origin_server_ts": 1_000,
        "room_id": ROOM_ID,
        "unsigned": {"age": 4},
    }


def test_form_of_sync_has_no_room_id() -> None:
    assert "room_id" not in written(make_row())


@pytest.mark.parametrize("state_key", ["", "@bob:hospital.example", 'quo"te', "ü"])
def test_state_key_is_there_for_state_even_if_empty(state_key: str) -> None:
    assert written(make_row(type="m.room.topic", state_key=state_key))["state_key"] == state_key
    assert "state_key" not in written(make_row())


def test_content_is_copied_byte_for_byte() -> None:
    content = b'{"n":12345678901234567890,"f":1.0,"u":"\\u00fc","keys":{"b":1,"a":2}}'
    body = orjson.dumps({"type": "x", "sender": ALICE, "origin_server_ts": 1})[:-1] + b',"content":' + content + b"}"
    head = event_head(make_row(body=body), V11)
    assert b'"content":' + content in head


def test_event_id_of_old_versions_is_that_of_the_row() -> None:
    row = make_row(event_id=EventId("$1:hospital.example"), pdu={"event_id": "$1:hospital.example"})
    assert written(row, V2)["event_id"] == "$1:hospital.example"


def test_redacted_event_has_its_redacted_form() -> None:
    row = make_row(redacted_by=2, type="m.room.member", state_key=ALICE, content={"membership": "join", "n": 1})
    assert written(row)["content"] == {"membership": "join"}
    assert written(make_row(redacted_by=2))["content"] == {}


def test_redaction_of_newer_versions_says_at_the_top_what_it_redacts() -> None:
    row = make_row(type="m.room.redaction", content={"reason": "x", "redacts": "$other"})
    assert written(row, V11)["redacts"] == "$other"
    assert written(row, V11)["content"] == {"reason": "x", "redacts": "$other"}


@pytest.mark.parametrize("content", [{}, {"reason": "x"}])
def test_redaction_of_older_versions_says_in_the_content_what_it_redacts(content: dict[str, Any]) -> None:
    row = make_row(type="m.room.redaction", content=content, pdu={"redacts": "$other"})
    assert written(row, V10)["content"] == {"redacts": "$other", **content}
    assert written(row, V10)["redacts"] == "$other"


def test_redaction_that_names_nothing() -> None:
    assert "redacts" not in written(make_row(type="m.room.redaction", content={}), V11)
    assert "redacts" not in written(make_row(type="m.room.redaction", content={}), V10)


def test_stripped_form() -> None:
    row = make_row(type="m.room.name", state_key="", content={"name": "Ward 3"})
    assert orjson.loads(stripped_event(row, V11)) == {
        "type": "m.room.name",
        "state_key": "",
        "content": {"name": "Ward 3"},
        "sender": ALICE,
    }


def test_federation_form_is_the_pdu() -> None:
    row = make_row()
    assert orjson.loads(federation_event(row, V11, unsigned=b'{"age":1}')) == {
        **orjson.loads(row.body),
        "unsigned": {"age": 1},
    }


def test_head_is_remembered_but_not_beyond_a_redaction() -> None:
    heads = EventHeads()
    before = heads.head(make_row(), V11)
    assert heads.head(make_row(body=b"never read"), V11) is before
    assert heads.head(make_row(redacted_by=2), V11) != before


def test_heads_are_bounded() -> None:
    size = HEAD_BYTES + len(event_head(make_row(), V11))
    heads = EventHeads(bytes_max=2 * size + 1)
    first = heads.head(make_row(nid=1), V11)
    heads.head(make_row(nid=2), V11)
    assert heads.head(make_row(nid=1), V11) is first
    heads.head(make_row(nid=3), V11)
    assert heads.head(make_row(nid=1), V11) is first  # the one used least recently has gone, not the oldest
