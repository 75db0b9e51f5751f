"""Large answers, read as they arrive."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tim_server.federation.arriving_object import ArrivingObject, Item, MalformedAnswer

ANSWER = {
    "state": [{"type": "m.room.create", "content": {"a": [1, 2.5, "]}"]}}, {}],
    "event": {"x": "ä\u2028"},
    "auth_chain": [{"n": 12}],
    "members_omitted": False,
    "servers_in_room": ["a.example"],
    "none": [],
}


def read(data: bytes, *, size: int = 1 << 16) -> tuple[list[Item], dict[str, Any]]:
    reader = ArrivingObject(arrays=("state", "auth_chain"))
    items = [item for start in range(0, len(data), size) for item in reader.feed(data[start : start + size])]
    return [*items, *reader.end()], reader.members


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("form", ["object", "pair", "with spaces"])
def test_an_answer_is_read_however_it_is_cut(size: int, form: str) -> None:
    data = orjson.dumps([200, ANSWER] if form == "pair" else ANSWER)
    if form == "with spaces":
        data = b" \n" + orjson.dumps(ANSWER, option=orjson.OPT_INDENT_2) + b"\n "
    items, members = read(data, size=size)
    assert [(item.array, item.value) for item in items] == [
        *(("state", value) for value in ANSWER["state"]),  # type: ignore[attr-defined]
        *(("auth_chain", value) for value in ANSWER["auth_chain"]),  # type: ignore[attr-defined]
    ]
    assert all(orjson.loads(item.json) == item.value for item in items)
    assert members == {key: value for key, value in ANSWER.items() if key not in ("state", "auth_chain")}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"state":[{}',
        b'{"state":[{}]',
        b'{"state":[1]}',
        b'{"state":{}}',
        b"{[]:1}",
        b'{"event":{},5:1}',
        b'{"state":[{},]}',
        b'{"state":[{}]}}',
        b'{"state":[{}]} {}',
        b'{"state":[{}] "event":{}}',
        b'{"event":nonsense}',
        b'{"event":"\xff"}',
        b'[200,{"state":[]}',
        b'{"event":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"{" + b",".join(b'"%d":1' % number for number in range(200)) + b"}",
    ],
)
def test_what_is_not_such_an_object_is_refused(data: bytes) -> None:
    for size in (1 << 16, 3):
        with pytest.raises(MalformedAnswer):
            read(data, size=size)


@pytest.mark.parametrize("member", ["state", "event"])
def test_a_giant_value_is_refused_long_before_it_has_come(member: str) -> None:
    reader = ArrivingObject(arrays=("state",))
    begun = b'{"state":[{"x":"' if member == "state" else b'{"event":"'
    list(reader.feed(begun))
    with pytest.raises(MalformedAnswer):
        for _ in range(20):
            list(reader.feed(b"x" * (1 << 16)))


def test_a_value_that_comes_in_tiny_pieces_costs_little_time() -> None:
    started = time.process_time()
    read(orjson.dumps({"state": [{"x": "y" * 200_000}]}), size=10)
    assert time.process_time() - started < 10


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read(data, size=5)
    except MalformedAnswer:
        return
    assert isinstance(orjson.loads(data) if data.strip().startswith(b"{") else {}, dict)
