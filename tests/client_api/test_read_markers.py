"""`read_markers.yaml`."""

from typing import Any

import pytest

from tests.client_api.test_receipts import receipts_in, sync
from tests.people import Hospital, Person


async def fully_read(person: Person, room_id: str) -> Any:
    """Where the person's marker is."""
    path = f"user/{person.user_id}/rooms/{room_id}/account_data/m.fully_read"
    return (await person.get(path))["event_id"]


async def test_all_markers_move_in_one_call(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    first, second, third = [await alice.say(room_id, str(number)) for number in range(3)]
    since = (await sync(alice))["next_batch"]
    body = {"m.fully_read": first, "m.read": second, "m.read.private": third}
    await alice.post(f"rooms/{room_id}/read_markers", body)
    answer = await sync(alice, since)
    told = answer["rooms"]["join"][room_id]
    assert told["account_data"]["events"] == [{"type": "m.fully_read", "content": {"event_id": first}}]
    assert set(receipts_in(answer, room_id)) == {
        (second, "m.read", alice.user_id, None),
        (third, "m.read.private", alice.user_id, None),
    }
    assert await fully_read(alice, room_id) == first


async def test_the_fully_read_marker_moves_by_a_receipt_too_and_only_forward(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    first, second = [await alice.say(room_id, str(number)) for number in range(2)]
    await alice.post(f"rooms/{room_id}/receipt/m.fully_read/{second}")
    since = (await sync(alice))["next_batch"]
    await alice.post(f"rooms/{room_id}/read_markers", {"m.fully_read": first})
    await alice.post(f"rooms/{room_id}/read_markers", {"m.fully_read": second})
    assert await fully_read(alice, room_id) == second
    answer = await sync(alice, since)
    assert "rooms" not in answer
    assert answer["next_batch"] == since, "what changes nothing is not written"


async def test_all_or_none_of_the_markers_move(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    event_id = await alice.say(room_id, "hello")
    body = {"m.fully_read": "$unknown", "m.read": event_id}
    await alice.refused(404, "M_NOT_FOUND", "POST", f"rooms/{room_id}/read_markers", body)
    assert receipts_in(await sync(alice), room_id) == []


async def test_a_client_can_not_set_the_marker_as_account_data(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    path = f"user/{alice.user_id}/rooms/{room_id}/account_data/m.fully_read"
    await alice.refused(405, "M_BAD_JSON", "PUT", path, {"event_id": "$e"})


async def test_who_is_not_joined_moves_no_markers(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    body = {"m.fully_read": await alice.say(room_id, "hello")}
    await bob.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/read_markers", body)


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"m.read": 5}, "M_BAD_JSON"),
        ({"m.read": "no-event"}, "M_INVALID_PARAM"),
        ({"m.fully_read": []}, "M_BAD_JSON"),
        ([], "M_BAD_JSON"),
    ],
)
async def test_bad_markers_are_refused(hospital: Hospital, body: Any, errcode: str) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.refused(400, errcode, "POST", f"rooms/{room_id}/read_markers", body)


async def test_nothing_to_move_is_fine(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    assert await alice.post(f"rooms/{room_id}/read_markers") == {}
