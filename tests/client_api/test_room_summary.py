"""`room_summary.yaml`, also under the paths that it had before."""

import secrets
from typing import Any
from urllib.parse import quote

import pytest

from tests.people import SERVER, Hospital

SUMMARY = "/_matrix/client/v1/room_summary"
UNSTABLE = "/_matrix/client/unstable/im.nheko.summary"


async def test_a_summary_by_id_and_by_alias(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    alias = secrets.token_hex(6)
    encrypted = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room_id = await alice.create_room(
        preset="public_chat", name="Ward", room_alias_name=alias, room_version="11", initial_state=[encrypted]
    )
    expected = {
        "room_id": room_id,
        "name": "Ward",
        "canonical_alias": f"#{alias}:{SERVER}",
        "num_joined_members": 1,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        "encryption": "m.megolm.v1.aes-sha2",
        "room_version": "11",
    }
    assert await alice.get(f"{SUMMARY}/{room_id}") == expected | {"membership": "join"}
    assert await bob.get(f"{SUMMARY}/%23{alias}:{SERVER}", via=SERVER) == expected | {"membership": "leave"}
    for path in (f"{UNSTABLE}/summary/{room_id}", f"{UNSTABLE}/rooms/{room_id}/summary"):
        assert await bob.get(path) == expected | {
            "membership": "leave",
            "im.nheko.summary.encryption": "m.megolm.v1.aes-sha2",
            "im.nheko.summary.room_version": "11",
        }


@pytest.mark.parametrize(
    ("join_rule", "version", "found"),
    [
        ("public", "12", True),
        ("knock", "12", True),
        ("knock_restricted", "12", True),
        ("invite", "12", False),
        ("private", "12", False),
        ("restricted", "12", False),
        ("knock", "6", False),
    ],
)
async def test_who_may_find_a_room_by_its_join_rule(
    hospital: Hospital, join_rule: str, version: str, found: bool
) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    rules = {"type": "m.room.join_rules", "content": {"join_rule": join_rule, "allow": []}}
    room_id = await alice.create_room(preset="private_chat", room_version=version, initial_state=[rules])
    if found:
        assert (await bob.get(f"{SUMMARY}/{room_id}"))["join_rule"] == join_rule
    else:
        await bob.refused(404, "M_NOT_FOUND", "GET", f"{SUMMARY}/{room_id}")


async def test_members_of_an_allowed_room_find_a_restricted_one(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    staff = await alice.create_room()
    await bob.join(staff)
    content = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": staff}]}
    rules = {"type": "m.room.join_rules", "content": content}
    room_id = await alice.create_room(preset="private_chat", initial_state=[rules])
    assert (await bob.get(f"{SUMMARY}/{room_id}"))["allowed_room_ids"] == [staff]
    await carol.refused(404, "M_NOT_FOUND", "GET", f"{SUMMARY}/{room_id}")


async def test_who_is_invited_or_banned(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    assert (await bob.get(f"{SUMMARY}/{room_id}"))["membership"] == "invite"
    world = {"history_visibility": "world_readable"}
    await alice.set_state(room_id, "m.room.history_visibility", world)
    await bob.leave(room_id)
    assert (await bob.get(f"{SUMMARY}/{room_id}"))["world_readable"] is True
    await alice.post(f"rooms/{room_id}/ban", {"user_id": bob.user_id})
    await bob.refused(404, "M_NOT_FOUND", "GET", f"{SUMMARY}/{room_id}")


@pytest.mark.parametrize(
    "room", [f"!unknown:{SERVER}", f"#unknown:{SERVER}", "!unknown:elsewhere.example", "!" + 43 * "a"]
)
async def test_unknown_rooms(hospital: Hospital, room: str) -> None:
    await (await hospital.person()).refused(404, "M_NOT_FOUND", "GET", f"{SUMMARY}/{quote(room)}")


async def test_a_room_that_all_have_left_is_not_known_any_more(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await alice.leave(room_id)
    for person in (alice, bob):
        await person.refused(404, "M_NOT_FOUND", "GET", f"{SUMMARY}/{room_id}")


@pytest.mark.parametrize("content", [{}, {"name": 1, "topic": [], "alias": {}, "url": 1, "algorithm": ""}])
async def test_state_of_another_form_is_left_out(hospital: Hospital, content: dict[str, Any]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    for event_type in ("m.room.name", "m.room.topic", "m.room.avatar", "m.room.guest_access"):
        await alice.set_state(room_id, event_type, content)
    summary = await alice.get(f"{SUMMARY}/{room_id}")
    assert not summary.keys() & {"name", "topic", "avatar_url"}
    assert summary["guest_can_join"] is False
