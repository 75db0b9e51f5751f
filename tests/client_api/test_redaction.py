"""`redaction.yaml`, and redactions sent as messages."""

import pytest

from tests.people import SERVER, Hospital


async def test_redacted_event_loses_its_content(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    event_id = await bob.say(room_id, "A name that should not stand here")
    redaction = await bob.put(f"rooms/{room_id}/redact/{event_id}/1", {"reason": "Privacy"})
    event = await alice.event(room_id, event_id)
    assert event["content"] == {}
    because = event["unsigned"]["redacted_because"]
    assert because["event_id"] == redaction["event_id"]
    assert because["content"]["reason"] == "Privacy"
    assert because["redacts"] == event_id
    (shown,) = [e for e in (await alice.history(room_id))["chunk"] if e["event_id"] == event_id]
    assert shown["content"] == {}


@pytest.mark.parametrize("version", ["2", "10", "11", "12"])
async def test_what_is_redacted_stands_in_both_places(hospital: Hospital, version: str) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(room_version=version)
    event_id = await alice.say(room_id, "Oops")
    redaction_id = (await alice.put(f"rooms/{room_id}/redact/{event_id}/1", {}))["event_id"]
    redaction = await alice.event(room_id, redaction_id)
    assert redaction["redacts"] == redaction["content"]["redacts"] == event_id


@pytest.mark.parametrize("version", ["10", "11"])
async def test_redaction_sent_as_a_message(hospital: Hospital, version: str) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(room_version=version)
    event_id = await alice.say(room_id, "Oops")
    content = {"redacts": event_id, "reason": "Oops"}
    redaction_id = await alice.send(room_id, content, type="m.room.redaction", txn_id="one")
    assert await alice.send(room_id, content, type="m.room.redaction", txn_id="one") == redaction_id
    assert (await alice.event(room_id, event_id))["content"] == {}
    assert (await alice.event(room_id, redaction_id))["redacts"] == event_id


async def test_redaction_repeated_with_its_transaction_id(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    event_id = await alice.say(room_id, "Oops")
    path = f"rooms/{room_id}/redact/{event_id}/1"
    assert await alice.put(path, {}) == await alice.put(path, {})


async def test_events_of_others_take_power(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    for person in (bob, carol):
        await person.join(room_id)
    event_id = await bob.say(room_id, "Mine")
    path = f"rooms/{room_id}/redact/{event_id}/1"
    await carol.refused(403, "M_FORBIDDEN", "PUT", path, {})
    assert (await carol.event(room_id, event_id))["content"]["body"] == "Mine"
    await alice.put(path, {})
    assert (await carol.event(room_id, event_id))["content"] == {}


async def test_what_cannot_be_redacted(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id, other = await alice.create_room(), await alice.create_room()
    elsewhere = await alice.say(other, "In another room")
    await alice.refused(404, "M_NOT_FOUND", "PUT", f"rooms/{room_id}/redact/{elsewhere}/1", {})
    await alice.refused(404, "M_NOT_FOUND", "PUT", f"rooms/{room_id}/redact/$unknown/1", {})
    event_id = await alice.say(room_id, "Not yours")
    await bob.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/redact/{event_id}/1", {})
    await alice.refused(400, "M_BAD_JSON", "PUT", f"rooms/{room_id}/send/m.room.redaction/1", {})


async def test_redacted_state_keeps_what_the_rules_need(hospital: Hospital) -> None:
    alice = await hospital.person(displayname="Alice")
    room_id = await alice.create_room()
    member = (await alice.get(f"rooms/{room_id}/state/m.room.member/{alice.user_id}", format="event"))["event_id"]
    await alice.put(f"rooms/{room_id}/redact/{member}/1", {})
    assert await alice.state(room_id, "m.room.member", alice.user_id) == {"membership": "join"}
    name = await alice.set_state(room_id, "m.room.name", {"name": "Ward 3"})
    await alice.put(f"rooms/{room_id}/redact/{name}/2", {})
    assert await alice.state(room_id, "m.room.name") == {}
    later = await alice.set_state(room_id, "m.room.name", {"name": "Ward 4"})
    assert (await alice.event(room_id, later))["unsigned"]["prev_content"] == {}


async def test_state_that_was_redacted_can_be_set_again(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    first = await alice.set_state(room_id, "m.room.topic", {"topic": "Ward 3"})
    assert await alice.set_state(room_id, "m.room.topic", {"topic": "Ward 3"}) == first
    await alice.put(f"rooms/{room_id}/redact/{first}/1", {})
    assert await alice.set_state(room_id, "m.room.topic", {"topic": "Ward 3"}) != first
    assert await alice.state(room_id, "m.room.topic") == {"topic": "Ward 3"}


async def test_redacted_canonical_alias_does_not_come_back(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    names = [f"named-after-a-patient-{room_id[1:7].lower()}", f"other-{room_id[1:7].lower()}"]
    aliases = [f"#{name}:{SERVER}" for name in names]
    for name in names:
        await alice.put(f"directory/room/%23{name}:{SERVER}", {"room_id": room_id})
    event_id = await alice.set_state(room_id, "m.room.canonical_alias", {"alt_aliases": aliases})
    await alice.put(f"rooms/{room_id}/redact/{event_id}/1", {})
    await alice.expect(200, "DELETE", f"directory/room/%23{names[1]}:{SERVER}")
    assert await alice.state(room_id, "m.room.canonical_alias") == {}
