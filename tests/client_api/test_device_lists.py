"""Whose device lists have changed, as sync and `/keys/changes` tell it; and how many keys a device has left.

Spec: https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.client_api.test_cross_signing import new_signer
from tests.client_api.test_device_management import auth_of, log_in
from tests.people import Hospital, Person
from tests.signed_keys import DeviceIdentity

NOTHING: tuple[set[str], set[str]] = (set(), set())


@dataclass
class Watcher:
    """A person who syncs, and asks `/keys/changes` the same."""

    person: Person
    since: str | None = None
    answer: dict[str, Any] = field(default_factory=dict)

    async def look(self, timeout_ms: int = 0) -> tuple[set[str], set[str]]:
        """Who has changed and who left since the last time."""
        before = self.since
        self.answer = await self.person.get("sync", since=self.since, timeout=timeout_ms)
        self.since = self.answer["next_batch"]
        told = self.answer.get("device_lists", {"changed": [], "left": []})
        if before is not None:
            assert await self.person.get("keys/changes", from_=before, to=self.since) == told
        return set(told["changed"]), set(told["left"])

    @property
    def counts(self) -> tuple[Any, Any]:
        """What the last answer says of keys."""
        return self.answer["device_one_time_keys_count"], self.answer["device_unused_fallback_key_types"]


async def watch(person: Person) -> Watcher:
    """A watcher who has seen all there is; later answers come from memory where they can."""
    watcher = Watcher(person)
    for _ in range(2):
        await watcher.look()
    return watcher


@pytest.fixture
async def people(hospital: Hospital) -> tuple[Person, Person, Person]:
    """Alice and Bob, who share a room, and Carol, who does not."""
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    await bob.join(await alice.create_room())
    await carol.create_room()
    return alice, bob, carol


People = tuple[Person, Person, Person]


async def test_a_first_answer_says_nothing_of_device_lists(people: People) -> None:
    alice, _, _ = people
    assert "device_lists" not in await alice.get("sync")


@pytest.mark.parametrize("change", ["keys", "name", "login", "logout", "password"])
async def test_a_change_of_devices_is_told_to_those_who_share_a_room(people: People, change: str) -> None:
    alice, _bob, _carol = people
    tablet = await log_in(alice, "TABLET")
    watchers = [await watch(person) for person in people]
    if change == "keys":
        await DeviceIdentity(alice).publish()
    elif change == "name":
        await alice.put(f"devices/{alice.device_id}", {"display_name": "x"})
    elif change == "login":
        await log_in(alice)
    elif change == "logout":
        await tablet.post("logout")
    else:
        await alice.post("account/password", {"new_password": "another password", **auth_of(alice)})
    assert [await watcher.look() for watcher in watchers] == [
        ({alice.user_id}, set()),
        ({alice.user_id}, set()),
        NOTHING,
    ]
    assert [await watcher.look() for watcher in watchers] == [NOTHING] * 3


async def test_the_same_keys_again_are_no_change(people: People) -> None:
    alice, bob, _ = people
    identity = DeviceIdentity(alice)
    await identity.publish()
    watcher = await watch(bob)
    await identity.publish()
    await alice.post("keys/upload", {"one_time_keys": identity.one_time_keys("A")})
    assert await watcher.look() == NOTHING


async def test_who_comes_into_a_room_is_told_and_is_told_of_all(hospital: Hospital, people: People) -> None:
    alice, bob, carol = people
    room_id = await alice.create_room()
    await bob.join(room_id)
    watchers = [await watch(person) for person in people]
    await carol.join(room_id)
    expected = [({carol.user_id}, set()), ({carol.user_id}, set()), ({alice.user_id, bob.user_id}, set())]
    assert [await watcher.look() for watcher in watchers] == expected


async def test_who_shares_no_room_any_more_has_left(people: People) -> None:
    alice, _bob, carol = people
    first, second = await alice.create_room(), await alice.create_room()
    for room_id in (first, second):
        await carol.join(room_id)
    watchers = [await watch(person) for person in people]
    await carol.leave(first)
    assert [await watcher.look() for watcher in watchers] == [NOTHING] * 3
    await alice.expect(200, "POST", f"rooms/{second}/kick", {"user_id": carol.user_id})
    expected = [(set(), {carol.user_id}), NOTHING, (set(), {alice.user_id})]
    assert [await watcher.look() for watcher in watchers] == expected


async def test_who_leaves_and_comes_back_with_another_device_has_changed(people: People) -> None:
    alice, bob, _ = people
    room_id = await alice.create_room()
    await bob.leave((await alice.get("joined_rooms"))["joined_rooms"][0])
    await bob.join(room_id)
    watcher = await watch(alice)
    await bob.leave(room_id)
    await DeviceIdentity(bob).publish()
    await bob.join(room_id)
    assert await watcher.look() == ({bob.user_id}, set())


async def test_who_has_left_and_come_back_may_have_been_forgotten_meanwhile(people: People) -> None:
    alice, bob, _ = people
    (room_id,) = (await bob.get("joined_rooms"))["joined_rooms"]
    watcher = await watch(alice)
    await bob.leave(room_id)
    await bob.join(room_id)
    assert await watcher.look() == ({bob.user_id}, set())


async def test_who_comes_back_themselves_is_told_of_all_whose_servers_may_have_told_nothing_meanwhile(
    people: People,
) -> None:
    alice, bob, _ = people
    (room_id,) = (await bob.get("joined_rooms"))["joined_rooms"]
    watcher = await watch(bob)
    await bob.leave(room_id)
    await bob.join(room_id)
    assert await watcher.look() == ({alice.user_id}, set())


async def test_a_change_after_leaving_is_not_told(people: People) -> None:
    alice, bob, _ = people
    (room_id,) = (await bob.get("joined_rooms"))["joined_rooms"]
    watcher = await watch(alice)
    await bob.leave(room_id)
    await DeviceIdentity(bob).publish()
    assert await watcher.look() == (set(), {bob.user_id})
    await DeviceIdentity(bob).publish()
    assert await watcher.look() == NOTHING


async def test_a_new_name_in_a_room_is_no_change_of_devices(people: People) -> None:
    alice, bob, _ = people
    watcher = await watch(alice)
    await bob.put(f"profile/{bob.user_id}/displayname", {"displayname": "Bob"})
    assert await watcher.look() == NOTHING


async def test_where_very_much_has_happened_nobody_is_left_out(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob, carol = people
    room_id = await alice.create_room()
    await carol.join(room_id)
    since = (await watch(alice)).since
    await carol.leave(room_id)
    (other,) = (await bob.get("joined_rooms"))["joined_rooms"]
    await bob.leave(other)
    await bob.join(room_id)
    monkeypatch.setattr("tim_server.storage.shared_rooms.STEPS_MAX", 1)
    told = await alice.get("keys/changes", from_=since, to=since)
    assert told == {"changed": [bob.user_id], "left": [carol.user_id]}


async def test_an_invite_shares_nothing(people: People) -> None:
    alice, _, carol = people
    room_id = await alice.create_room(preset="private_chat")
    watchers = [await watch(alice), await watch(carol)]
    await alice.post(f"rooms/{room_id}/invite", {"user_id": carol.user_id})
    assert [await watcher.look() for watcher in watchers] == [NOTHING] * 2
    await carol.leave(room_id)
    assert [await watcher.look() for watcher in watchers] == [NOTHING] * 2


async def test_signatures_are_told_to_those_who_may_see_them(hospital: Hospital) -> None:
    alice, bob = await new_signer(hospital), await new_signer(hospital)
    await bob.person.join(await alice.person.create_room())
    watchers = [await watch(alice.person), await watch(bob.person)]
    await alice.signs_device()
    assert [await watcher.look() for watcher in watchers] == [({alice.user_id}, set())] * 2
    await alice.verifies(bob)
    assert [await watcher.look() for watcher in watchers] == [({bob.user_id}, set()), NOTHING]


async def test_a_user_signing_key_is_told_to_its_owner_alone(hospital: Hospital) -> None:
    alice, bob = await new_signer(hospital), await new_signer(hospital)
    await bob.person.join(await alice.person.create_room())
    watchers = [await watch(alice.person), await watch(bob.person)]
    key = alice.keys.sign("master", alice.keys.key("user_signing") | {"more": 1, "signatures": {}})
    other = (await new_signer(hospital)).keys.key("user_signing")["keys"]
    key = alice.keys.sign("master", {**key, "keys": other, "signatures": {}})
    await alice.person.post("keys/device_signing/upload", {"user_signing_key": key, **auth_of(alice.person)})
    assert [await watcher.look() for watcher in watchers] == [({alice.user_id}, set()), NOTHING]


async def test_a_change_wakes_those_who_wait(people: People) -> None:
    alice, bob, _ = people
    watcher = await watch(bob)
    waiting = asyncio.create_task(watcher.look(timeout_ms=20_000))
    await asyncio.sleep(0.2)
    await DeviceIdentity(alice).publish()
    async with asyncio.timeout(5):
        assert await waiting == ({alice.user_id}, set())


async def test_counts_of_keys_are_in_every_answer(people: People) -> None:
    alice, bob, _ = people
    identity = DeviceIdentity(alice)
    watcher = await watch(alice)
    assert watcher.counts == ({"signed_curve25519": 0}, [])
    keys = {"one_time_keys": identity.one_time_keys("A", "B") | {"x:y": "z"}}
    await alice.post("keys/upload", keys | {"fallback_keys": identity.one_time_keys("F")})
    for _ in range(2):
        await watcher.look()
        assert watcher.counts == ({"signed_curve25519": 2, "x": 1}, ["signed_curve25519"])
    assert (await log_in(alice, "TABLET")).device_id == "TABLET"
    wanted = {"one_time_keys": {alice.user_id: {alice.device_id: "signed_curve25519"}}}
    for expected in (({"signed_curve25519": 1, "x": 1}, ["signed_curve25519"]),) * 1:
        await bob.post("keys/claim", wanted)
        await watcher.look()
        assert watcher.counts == expected
    for _ in range(2):
        await bob.post("keys/claim", wanted)
    await watcher.look()
    assert watcher.counts == ({"signed_curve25519": 0, "x": 1}, [])
    assert Watcher(alice).answer == {}
    first = Watcher(alice)
    await first.look()
    assert first.counts == watcher.counts


async def test_a_device_that_comes_back_has_no_keys(people: People) -> None:
    alice, _, _ = people
    tablet = await log_in(alice, "TABLET")
    await tablet.post("keys/upload", {"one_time_keys": {"signed_curve25519:A": {"key": "x", "signatures": {}}}})
    watcher = await watch(tablet)
    assert watcher.counts[0] == {"signed_curve25519": 1}
    await tablet.post("logout")
    watcher = await watch(await log_in(alice, "TABLET"))
    assert watcher.counts[0] == {"signed_curve25519": 0}


async def test_a_claim_and_an_upload_wake_the_device(people: People) -> None:
    alice, bob, _ = people
    identity = DeviceIdentity(alice)
    watcher = await watch(alice)
    wanted = {"one_time_keys": {alice.user_id: {alice.device_id: "signed_curve25519"}}}
    for act, body, expected in (
        ((alice, "keys/upload"), {"one_time_keys": identity.one_time_keys("A")}, 1),
        ((bob, "keys/claim"), wanted, 0),
    ):
        waiting = asyncio.create_task(watcher.look(timeout_ms=20_000))
        await asyncio.sleep(0.2)
        await act[0].post(act[1], body)
        async with asyncio.timeout(5):
            await waiting
        assert watcher.counts[0] == {"signed_curve25519": expected}


@pytest.mark.parametrize("query", [{}, {"from_": "s1"}, {"to": "s1"}])
async def test_both_tokens_must_be_given(people: People, query: dict[str, str]) -> None:
    await people[0].refused(400, "M_MISSING_PARAM", "GET", "keys/changes", **query)


async def test_tokens_must_be_sync_tokens(people: People) -> None:
    for start, end in (("x", "s1"), ("s1", "x"), ("t1_1", "s1")):
        await people[0].refused(400, "M_INVALID_PARAM", "GET", "keys/changes", from_=start, to=end)
