"""What a user who was erased leaves behind.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate
"""

from typing import Any

import pytest

from tests.people import PASSWORD, Hospital, Person


async def close_account(person: Person, *, erase: bool) -> None:
    """Deactivate the account."""
    auth = {"type": "m.login.password", "user": person.user_id, "password": PASSWORD}
    await person.post("account/deactivate", {"auth": auth, "erase": erase})


async def told(person: Person, room_id: str, event_id: str) -> list[Any]:
    """The content of an event wherever it is read."""
    history = (await person.history(room_id, limit=50))["chunk"]
    context = await person.get(f"rooms/{room_id}/context/{event_id}")
    timeline = (await person.get("sync"))["rooms"]["join"][room_id]["timeline"]["events"]
    events = [*history, context["event"], await person.event(room_id, event_id), *timeline]
    return [event["content"] for event in events if event["event_id"] == event_id]


@pytest.mark.parametrize("erase", [True, False])
async def test_who_comes_later_gets_the_messages_of_an_erased_user_redacted(hospital: Hospital, erase: bool) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    early, late = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    event_id = await bob.say(room_id, "hello")
    kept = await alice.say(room_id, "from Alice")
    await early.join(room_id)
    await close_account(bob, erase=erase)
    await late.join(room_id)
    original = {"msgtype": "m.text", "body": "hello"}
    for person in (alice, early):
        assert await told(person, room_id, event_id) == [original] * 4
    assert await told(late, room_id, event_id) == [{} if erase else original] * 4
    assert (await late.event(room_id, kept))["content"]["body"] == "from Alice"
    assert await late.bodies(room_id, limit=50) == ["from Alice"] + ([] if erase else ["hello"])


async def test_the_history_before_a_withheld_message_can_be_reached(hospital: Hospital) -> None:
    alice, bob, late = await hospital.person(), await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    await alice.say(room_id, "first")
    await bob.say(room_id, "withheld")
    await close_account(bob, erase=True)
    await late.join(room_id)
    seen: list[str] = []
    start: str | None = None
    while not seen or start is not None:
        page = await late.history(room_id, limit=1, from_=start)
        seen += [event["content"].get("body", event["type"]) for event in page["chunk"]]
        start = page.get("end")
    assert "first" in seen
    assert seen[-1] == "m.room.create"
    assert "withheld" not in seen


async def test_the_state_that_an_erased_user_set_stays(hospital: Hospital) -> None:
    alice, late = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await alice.set_state(room_id, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    await close_account(alice, erase=True)
    await late.join(room_id)
    assert (await late.state(room_id, "m.room.encryption"))["algorithm"] == "m.megolm.v1.aes-sha2"
    timeline = (await late.get("sync"))["rooms"]["join"][room_id]["timeline"]["events"]
    contents = [event["content"] for event in timeline if event["type"] == "m.room.encryption"]
    assert all(content["algorithm"] for content in contents)
