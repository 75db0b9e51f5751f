"""Blocks of rooms hold whatever is under way, and end when they are lifted; people of other servers are not invited."""

from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.deleting import administrator, room_path
from tests.peer_in_room import queues_of
from tests.people import Person
from tim_server.matrix.identifiers import RoomId
from tim_server.storage.commit_log import CommitEntry


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


@pytest.fixture
async def admin(neighbourhood: Neighbourhood) -> Person:
    store = neighbourhood.a.process.homeservers[0].store
    return await administrator(neighbourhood.a, str(store.database.options.dsn))


def before_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Any) -> None:
    """Have something done right before the next call, whose caller has decided or asked by then."""
    step = getattr(owner, name)

    async def act_before(*arguments: Any) -> Any:
        monkeypatch.setattr(owner, name, step)
        await act()
        return await step(*arguments)

    monkeypatch.setattr(owner, name, act_before)


async def test_a_room_is_blocked_and_unblocked_while_something_is_sent(
    admin: Person, alice: Person, neighbourhood: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await alice.create_room()
    invite = {"user_id": (await neighbourhood.a.person()).user_id}
    writer = queues_of(neighbourhood.a).store.writer
    block = room_path(room_id, "/block")
    before_once(monkeypatch, writer, "commit_room", lambda: admin.expect(200, "PUT", block, {}))
    await alice.say(room_id, "on its way")
    await alice.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/invite", invite)
    before_once(monkeypatch, writer, "commit_room", lambda: admin.expect(200, "DELETE", block))
    await alice.say(room_id, "on its way, too")
    await alice.post(f"rooms/{room_id}/invite", invite)


async def test_a_room_is_blocked_while_its_head_is_read(
    admin: Person, alice: Person, neighbourhood: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = RoomId(await alice.create_room())
    heads = queues_of(neighbourhood.a).heads
    load = heads._load

    async def load_before_the_block(room_id: RoomId) -> Any:
        monkeypatch.setattr(heads, "_load", load)
        head = await load(room_id)
        await admin.expect(200, "PUT", room_path(room_id, "/block"), {})
        return head

    monkeypatch.setattr(heads, "_load", load_before_the_block)
    heads.forget(room_id)
    assert (head := await heads.get(room_id)) is not None and not head.is_blocked
    assert (head := await heads.get(room_id)) is not None and head.is_blocked


async def test_a_reset_that_is_heard_of_late_counts(alice: Person, neighbourhood: Neighbourhood) -> None:
    """Another process has blocked the room, and this one has committed on it before it heard of that."""
    room_id = RoomId(await alice.create_room())
    heads = queues_of(neighbourhood.a).heads
    head = await heads.get(room_id)
    assert head is not None and head.head_version is not None
    late = head.head_version - 1
    heads.follow(CommitEntry(previous=late - 1, position=late, resets=frozenset({head.nid})))
    assert heads.remembered(room_id) is None
    heads.put(replace(head, depth=head.depth + 1))  # as by somebody who had decided on it
    assert heads.remembered(room_id) is None


async def test_nobody_of_another_server_is_invited_to_a_blocked_room(
    admin: Person, alice: Person, neighbourhood: Neighbourhood
) -> None:
    room_id = await alice.create_room()
    bob = await neighbourhood.b.person()
    await admin.expect(200, "PUT", room_path(room_id, "/block"), {})
    await alice.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/invite", {"user_id": bob.user_id})
    assert room_id not in str(await bob.sync_now())
    await admin.expect(200, "DELETE", room_path(room_id, "/block"))
    await alice.post(f"rooms/{room_id}/invite", {"user_id": bob.user_id})
