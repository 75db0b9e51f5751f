"""Whoever may set state may set nonsense, as most of it is only for clients; nobody's requests may break over it."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.people import Hospital, Person

VALUES: list[Any] = [None, True, 1, -1, "", "x", "x" * 500, "#a:b", "@a:b", [], [None], ["x"], {}, {"a": None}, [[1]]]
KEYS = {
    "m.room.name": ["name"],
    "m.room.topic": ["topic", "m.topic"],
    "m.room.avatar": ["url", "info"],
    "m.room.join_rules": ["join_rule", "allow"],
    "m.room.history_visibility": ["history_visibility"],
    "m.room.guest_access": ["guest_access"],
    "m.room.canonical_alias": ["alias", "alt_aliases"],
    "m.room.power_levels": ["users", "events", "notifications", "users_default", "ban"],
    "m.room.encryption": ["algorithm", "rotation_period_ms"],
    "m.room.server_acl": ["allow", "deny", "allow_ip_literals"],
    "m.room.tombstone": ["replacement_room", "body"],
    "m.room.third_party_invite": ["public_key", "public_keys", "display_name"],
    "m.room.pinned_events": ["pinned"],
    "m.space.child": ["via", "order", "suggested"],
    "m.room.policy": ["via", "public_keys"],
}
MEMBER_KEYS = (
    "displayname",
    "avatar_url",
    "is_direct",
    "reason",
    "join_authorised_via_users_server",
    "third_party_invite",
)


async def calm(person: Person, path: str, method: str = "GET", body: Any = None) -> int:
    """The status of a request that must not fail for a fault of the server's."""
    status, answer = await person.request(method, path, body)
    assert status < 500, (method, path, answer)
    return status


async def check_readers(reader: Person, stranger: Person, room_id: str, since: str) -> str:
    """All ways to read the room work for somebody in it, and for somebody outside; the next sync token."""
    room = f"rooms/{quote(room_id)}"
    for path in ("state", "members", "joined_members", "messages?dir=b&limit=5", "aliases"):
        assert await calm(reader, f"{room}/{path}") == 200, path
        await calm(stranger, f"{room}/{path}")
    lazy = quote('{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":2}}}')
    assert await calm(reader, f"sync?filter={lazy}") == 200
    await calm(stranger, f"{room}/join", "POST", {})
    await calm(stranger, f"{room}/leave", "POST", {})
    later = await reader.get("sync", since=since)
    return str(later["next_batch"])


@pytest.mark.parametrize("version", ["1", "9", "12"])
async def test_nonsense_in_state_harms_nobody(hospital: Hospital, version: str) -> None:
    alice, bob, stranger = [await hospital.person() for _ in range(3)]
    for event_type, keys in KEYS.items():
        room_id = await alice.create_room(room_version=version)
        await bob.join(room_id)
        since = (await bob.get("sync"))["next_batch"]
        path = f"rooms/{quote(room_id)}/state/{event_type}"
        set_count = 0
        for key in keys:
            for value in VALUES:
                set_count += await calm(alice, path, "PUT", {key: value}) == 200
            since = await check_readers(bob, stranger, room_id, since)
        assert set_count > 0 or event_type == "m.room.power_levels"


@pytest.mark.parametrize("version", ["5", "10", "12"])
async def test_nonsense_in_member_events_harms_nobody(hospital: Hospital, version: str) -> None:
    alice, bob, stranger = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room(room_version=version)
    await bob.join(room_id)
    since = (await bob.get("sync"))["next_batch"]
    path = f"rooms/{quote(room_id)}/state/m.room.member/{quote(alice.user_id)}"
    for key in MEMBER_KEYS:
        for value in VALUES:
            await calm(alice, path, "PUT", {"membership": "join", key: value})
        since = await check_readers(bob, stranger, room_id, since)
    named = (await bob.get(f"rooms/{quote(room_id)}/joined_members"))["joined"]
    assert set(named) == {alice.user_id, bob.user_id}


async def test_nonsense_in_messages_harms_nobody(hospital: Hospital) -> None:
    alice, bob, stranger = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await bob.join(room_id)
    since = (await bob.get("sync"))["next_batch"]
    for key in ("m.relates_to", "m.mentions", "m.new_content", "redacts", "membership", "url", "unsigned"):
        for value in (*VALUES, {"rel_type": 1, "event_id": []}, {"user_ids": "x"}, {"m.in_reply_to": 1}):
            await alice.send(room_id, {"msgtype": "m.text", "body": "x", key: value})
        since = await check_readers(bob, stranger, room_id, since)
