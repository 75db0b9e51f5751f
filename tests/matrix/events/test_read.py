"""Reading PDUs: the form of each room version, and the limits of size.

Spec: https://spec.matrix.org/v1.19/client-server-api/#size-limits
"""

import copy

import pytest

from tests.matrix.events.factories import (
    ALL_VERSIONS,
    AUTHOR,
    create_pdu,
    event_id,
    new_pdu,
    version_name,
)
from tim_server.matrix.canonical_json import decode_lenient, encode_relaxed
from tim_server.matrix.errors import EventRejected
from tim_server.matrix.events.build import build_event
from tim_server.matrix.events.read import PDU_BYTES_MAX, read_pdu, read_stored_pdu
from tim_server.matrix.room_versions import V1, V2, V3, V5, V6, V10, V11, V12, EventFormat

MISSING = object()


def received_pdu(version, **changes):
    """A message as another server sends it, with some keys changed or missing. Hashes are not made anew."""
    _, body = build_event(new_pdu(version), version, AUTHOR)
    pdu = decode_lenient(body) | changes
    return {key: value for key, value in pdu.items() if value is not MISSING}


def reason(version, **changes):
    """Why an event with these changes is refused."""
    with pytest.raises(EventRejected) as raised:
        read_pdu(received_pdu(version, **changes), version)
    return str(raised.value)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_a_built_event_is_read_back(version):
    built, body = build_event(new_pdu(version), version, AUTHOR)
    read = read_pdu(decode_lenient(body), version)
    for name in ("event_id", "room_id", "type", "state_key", "sender", "content", "origin_server_ts", "depth"):
        assert getattr(read, name) == getattr(built, name)
    assert (read.prev_events, read.auth_events) == (built.prev_events, built.auth_events)
    assert encode_relaxed(read.pdu) == body
    assert read_stored_pdu(decode_lenient(body), version, built.event_id).event_id == built.event_id


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_a_create_event_is_read_back(version):
    built, body = build_event(create_pdu(version), version, AUTHOR)
    read = read_pdu(decode_lenient(body), version)
    assert (read.event_id, read.room_id, read.state_key) == (built.event_id, built.room_id, "")


def test_the_room_id_is_that_of_the_create_event_since_v12():
    event, _ = build_event(create_pdu(V12), V12, AUTHOR)
    assert event.room_id == "!" + event.event_id[1:]
    assert "room_id" not in event.pdu
    assert "create event has no room_id" in reason(V12, type="m.room.create", state_key="")
    assert "room_id is missing" in reason(V11, type="m.room.create", state_key="", room_id=MISSING)


def test_unsigned_is_left_out_and_the_given_pdu_is_not_changed():
    pdu = received_pdu(V11, unsigned={"age": 5, "huge": "x" * PDU_BYTES_MAX})
    before = copy.deepcopy(pdu)
    event = read_pdu(pdu, V11)
    assert "unsigned" not in event.pdu
    assert pdu == before


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("type", 5),
        ("sender", None),
        ("sender", "alice"),
        ("sender", "@alice"),
        ("room_id", 5),
        ("room_id", "ward"),
        ("content", []),
        ("content", "text"),
        ("hashes", []),
        ("signatures", []),
        ("signatures", {"hospital.example": "text"}),
        ("depth", "5"),
        ("depth", True),
        ("depth", -1),
        ("depth", 2**63),
        ("origin_server_ts", None),
        ("origin_server_ts", 1.5),
        ("origin_server_ts", 2**63),
        ("state_key", None),
        ("state_key", 5),
        ("prev_events", {}),
        ("prev_events", [5]),
        ("auth_events", None),
        ("auth_events", ["no event id"]),
    ],
)
def test_wrong_values_are_refused(version, key, wrong):
    assert reason(version, **{key: wrong})


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
@pytest.mark.parametrize(
    "key",
    ["type", "sender", "room_id", "content", "hashes", "signatures", "depth", "origin_server_ts", "prev_events"],
)
def test_missing_keys_are_refused(version, key):
    assert key in reason(version, **{key: MISSING})


@pytest.mark.parametrize("version", [V1, V2], ids=version_name)
@pytest.mark.parametrize(
    "wrong", [MISSING, None, 5, "", "new", "$new", "$new:not a server", "$" + "x" * 260 + ":h.example"]
)
def test_the_event_id_of_v1_and_v2_must_be_one(version, wrong):
    assert reason(version, event_id=wrong)


def test_references_are_pairs_in_v1_and_v2_and_ids_since_v3():
    assert read_pdu(received_pdu(V2, prev_events=[["$a:h.example", {"sha256": "x"}]]), V2).prev_events == (
        "$a:h.example",
    )
    for wrong in ("$a:h.example", ["$a:h.example"], ["$a:h.example", "hash"], [5, {}]):
        assert reason(V2, prev_events=[wrong])
    assert reason(V3, prev_events=[["$a:h.example", {"sha256": "x"}]])


def test_at_most_20_previous_and_10_auth_events():
    many = [event_id(V11, letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
    assert len(read_pdu(received_pdu(V11, prev_events=many[:20], auth_events=many[:10]), V11).prev_events) == 20
    assert "too many" in reason(V11, prev_events=many[:21])
    assert "too many" in reason(V11, auth_events=many[:11])


@pytest.mark.parametrize("key", ["type", "state_key"])
def test_keys_may_have_255_bytes(key):
    assert read_pdu(received_pdu(V11, **{key: "é" * 127 + "x"}), V11)
    assert "255 bytes" in reason(V11, **{key: "é" * 128})


@pytest.mark.parametrize("key", ["type", "state_key", "sender", "room_id"])
@pytest.mark.parametrize("character", ["\0", "\ud800"])
def test_keys_that_cannot_be_stored_are_refused(key, character):
    assert reason(V11, **{key: f"@a{character}:hospital.example"})


def test_sender_and_room_id_may_have_255_bytes():
    for key, sigil in (("sender", "@"), ("room_id", "!")):
        longest = f"{sigil}{'x' * 237}:hospital.example"
        assert len(longest) == 255
        assert read_pdu(received_pdu(V11, **{key: longest}), V11)
        assert reason(V11, **{key: longest.replace("x", "xx", 1)})


def test_an_event_may_have_65536_bytes():
    size = len(encode_relaxed(received_pdu(V11, content={"body": ""})))
    largest = {"body": "x" * (PDU_BYTES_MAX - size)}
    assert read_pdu(received_pdu(V11, content=largest), V11)
    assert "65,536" in reason(V11, content={"body": largest["body"] + "x"})


@pytest.mark.parametrize("content", [{"a": 0.5}, {"a": 2**53}])
def test_floats_and_large_integers_are_refused_since_v6(content):
    assert read_pdu(received_pdu(V5, content=content), V5).content == content
    assert "not valid" in reason(V6, content=content)


def test_depth_may_have_63_bits_until_v5_and_53_since_v6():
    assert read_pdu(received_pdu(V5, depth=2**63 - 1), V5).depth == 2**63 - 1
    assert read_pdu(received_pdu(V6, depth=2**53 - 1), V6).depth == 2**53 - 1
    assert reason(V6, depth=2**53)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_what_a_redaction_redacts_stands_in_the_content_since_v11(version):
    target, other = event_id(version, "t"), event_id(version, "o")
    pdu = received_pdu(version, type="m.room.redaction", redacts=other, content={"redacts": target})
    assert read_pdu(pdu, version).redacts == (target if version in (V11, V12) else other)
    assert read_pdu(pdu | {"type": "m.room.message"}, version).redacts is None


@pytest.mark.parametrize("redacts", [None, 5, "no id", "$", "$a\0", "$" + "x" * 255])
def test_a_redaction_of_what_is_no_event_redacts_nothing(redacts):
    assert read_pdu(received_pdu(V10, type="m.room.redaction", redacts=redacts), V10).redacts is None


def test_event_ids_of_hashes_ignore_one_that_the_pdu_states():
    plain = read_pdu(received_pdu(V11), V11)
    stated = read_pdu(received_pdu(V11, event_id="$mine:hospital.example"), V11)
    assert V11.event_format is EventFormat.HASHED_ID_URL_SAFE
    assert stated.event_id not in ("$mine:hospital.example", plain.event_id)
