"""`report_content.yaml`: what users may report. What becomes of it: `tests/admin_api/test_reports.py`."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.people import SERVER, Hospital
from tim_server.services.reports.file import REASON_BYTES_MAX


async def test_an_event_is_reported_by_those_who_are_in_the_room(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await bob.join(room_id)
    path = f"rooms/{room_id}/report/{await alice.say(room_id, 'hello')}"
    assert await bob.post(path, {"reason": "this makes me sad", "score": -100}) == {}
    assert await bob.post(path, {}) == {}
    await carol.refused(404, "M_NOT_FOUND", "POST", path, {"reason": "x"})
    await bob.leave(room_id)
    await bob.refused(404, "M_NOT_FOUND", "POST", path, {"reason": "x"})


async def test_events_that_the_user_may_not_see_are_not_reported(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id, other = await alice.create_room(), await alice.create_room()
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    hidden, elsewhere = await alice.say(room_id, "hidden"), await alice.say(other, "elsewhere")
    await bob.join(room_id)
    for event_id in (hidden, elsewhere, "$unknown"):
        await bob.refused(404, "M_NOT_FOUND", "POST", f"rooms/{room_id}/report/{event_id}", {"reason": "x"})


async def test_a_room_is_reported_by_anybody(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(preset="private_chat")
    for person in (alice, bob):
        assert await person.post(f"rooms/{room_id}/report", {"reason": ""}) == {}
    await bob.refused(404, "M_NOT_FOUND", "POST", f"rooms/!unknown:{SERVER}/report", {"reason": "x"})


async def test_a_user_is_reported_by_anybody(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    assert await bob.post(f"users/{quote(alice.user_id)}/report", {"reason": "x"}) == {}
    await bob.refused(404, "M_NOT_FOUND", "POST", f"users/@nobody:{SERVER}/report", {"reason": "x"})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"reason": 1}, (400, "M_BAD_JSON")),
        ({"reason": "x" * (REASON_BYTES_MAX + 1)}, (413, "M_TOO_LARGE")),
    ],
)
async def test_reasons_of_the_wrong_form(hospital: Hospital, body: Any, expected: tuple[int, str]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    event_id = await alice.say(room_id, "hello")
    for path in (f"rooms/{room_id}/report", f"rooms/{room_id}/report/{event_id}", f"users/{alice.user_id}/report"):
        await alice.refused(*expected, "POST", path, body)


async def test_rooms_and_users_are_reported_with_a_reason(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    for path in (f"rooms/{room_id}/report", f"users/{alice.user_id}/report"):
        await alice.refused(400, "M_MISSING_PARAM", "POST", path, {})


@pytest.mark.parametrize("score", ["-100", [], 1.5])
async def test_scores_of_the_wrong_form(hospital: Hospital, score: Any) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    path = f"rooms/{room_id}/report/{await alice.say(room_id, 'hello')}"
    await alice.refused(400, "M_BAD_JSON", "POST", path, {"score": score})
