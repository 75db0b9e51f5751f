"""`mutual_rooms.yaml`."""

import pytest

from tests.people import SERVER, Hospital
from tim_server.services.directory import mutual_rooms

MUTUAL = "/_matrix/client/v1/mutual_rooms"


async def test_rooms_that_both_are_joined_to(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    rooms = [await alice.create_room() for _ in range(5)]
    for room_id in rooms[:4]:
        await bob.join(room_id)
    await bob.leave(rooms[3])
    await bob.create_room(invite=[alice.user_id], preset="private_chat")
    assert await alice.get(MUTUAL, user_id=bob.user_id) == {"joined": rooms[:3], "count": 3}
    monkeypatch.setattr(mutual_rooms, "PAGE_ROOMS_MAX", 2)
    first = await alice.get(MUTUAL, user_id=bob.user_id)
    assert (first["joined"], first["count"]) == (rooms[:2], 3)
    assert await alice.get(MUTUAL, user_id=bob.user_id, from_=first["next_batch"]) == {"joined": rooms[2:3], "count": 3}


async def test_a_user_who_does_not_exist_shares_no_room(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.create_room()
    assert await alice.get(MUTUAL, user_id=f"@nobody:{SERVER}") == {"joined": [], "count": 0}


async def test_bad_queries(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    await alice.refused(400, "M_MISSING_PARAM", "GET", MUTUAL)
    await alice.refused(400, "M_INVALID_PARAM", "GET", MUTUAL, user_id="bob")
    await alice.refused(400, "M_INVALID_PARAM", "GET", MUTUAL, user_id=alice.user_id)
    await alice.refused(400, "M_INVALID_PARAM", "GET", MUTUAL, user_id=bob.user_id, from_="x")
