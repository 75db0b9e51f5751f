"""Conversations through matrix-nio, a client library in Python that bots and bridges are made with."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.clients.server_process import RunningServer

if TYPE_CHECKING:
    from tests.clients.nio_person import Person

pytestmark = pytest.mark.external

MESSAGES_EACH_WAY = 10
PAGE_SIZE = 7
MISSED_MESSAGES = 12
SHORT_TIMELINE = {"room": {"timeline": {"limit": 3}}}

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """A room that Alice made, where Bob is by her invitation; the sync loops of both run."""

    room_id: str
    alice: "Person"
    bob: "Person"

    async def talk(self) -> list[str]:
        """Messages in turn, each sent when the one before has arrived; their texts in order."""
        said: list[str] = []
        for number in range(1, MESSAGES_EACH_WAY + 1):
            for speaker, listener, name in ((self.alice, self.bob, "Alice"), (self.bob, self.alice, "Bob")):
                said.append(f"{name} {number}")
                await speaker.say(self.room_id, said[-1])
                await listener.hears(self.room_id, said)
        await self.bob.hears(self.room_id, said)
        return said

    async def bob_leaves(self) -> None:
        """Bob leaves, and Alice sees it."""
        await self.bob.call("room_leave", self.room_id)
        await self.alice.until(lambda: self.alice.members(self.room_id) == {self.alice.user_id})


@pytest.fixture(autouse=True)
def needs_nio() -> None:
    """The library is not among what the quick tests need."""
    pytest.importorskip("nio", reason="needs matrix-nio: pip install -e '.[external]'")


@pytest.fixture
async def people(running_server: RunningServer) -> AsyncIterator[tuple["Person", "Person"]]:
    """Alice and Bob with fresh accounts, logged in."""
    from tests.clients.nio_person import logged_in, register

    async with AsyncExitStack() as stack:
        number = next(_numbers)
        url = running_server.base_url
        user_ids = [await register(url, f"{name}.{number}") for name in ("alice", "bob")]
        alice, bob = [await stack.enter_async_context(logged_in(url, user_id)) for user_id in user_ids]
        yield alice, bob


@pytest.fixture
async def meeting(people: tuple["Person", "Person"]) -> AsyncIterator[Meeting]:
    """Alice and Bob in a room."""
    alice, bob = people
    async with alice.syncing(), bob.syncing():
        created = await alice.call("room_create", name="Ward 3", topic="Handover")
        room_id: str = created.room_id
        await alice.call("room_invite", room_id, bob.user_id)
        await bob.until(lambda: room_id in bob.invitations)
        await bob.call("join", room_id)
        both = {alice.user_id, bob.user_id}
        await bob.until(lambda: bob.members(room_id) == both)
        await alice.until(lambda: alice.members(room_id) == both)
        yield Meeting(room_id=room_id, alice=alice, bob=bob)


async def test_ten_messages_each_way_reach_both_once_and_in_order(meeting: Meeting) -> None:
    said = await meeting.talk()
    assert len(said) == 2 * MESSAGES_EACH_WAY
    assert meeting.alice.heard(meeting.room_id) == meeting.bob.heard(meeting.room_id) == said


async def test_history_pages_back_to_the_creation_of_the_room(meeting: Meeting) -> None:
    from tests.clients.nio_person import bodies

    said = await meeting.talk()
    for start in (meeting.bob.client.next_batch, None):
        pages = await meeting.bob.history(meeting.room_id, start, page_size=PAGE_SIZE)
        events = [event for page in pages for event in page]
        assert bodies(events) == said[::-1]
        assert events[-1].source["type"] == "m.room.create"
        assert len({event.event_id for event in events}) == len(events)
        assert all(len(page) == PAGE_SIZE for page in pages[:-1])


async def test_a_gap_in_the_timeline_is_filled_from_history(meeting: Meeting) -> None:
    from tests.clients.nio_person import bodies, logged_in

    token = meeting.bob.client.next_batch
    said = [f"Alice {number}" for number in range(MISSED_MESSAGES)]
    for body in said:
        await meeting.alice.say(meeting.room_id, body)
    async with logged_in(meeting.bob.client.homeserver, meeting.bob.user_id) as phone:
        answer = await phone.call("sync", since=token, sync_filter=SHORT_TIMELINE)
        timeline = answer.rooms.join[meeting.room_id].timeline
        assert timeline.limited
        assert bodies(timeline.events) == said[-3:]
        pages = await phone.history(meeting.room_id, timeline.prev_batch, page_size=PAGE_SIZE)
        assert bodies([event for page in pages for event in page]) == said[-4::-1]


async def test_an_invited_user_sees_what_the_room_is_and_who_invites(people: tuple["Person", "Person"]) -> None:
    alice, bob = people
    async with bob.syncing():
        room_id = (await alice.call("room_create", name="Ward 3", invite=[bob.user_id], is_direct=True)).room_id
        await bob.until(lambda: room_id in bob.invitations)
        assert bob.client.invited_rooms[room_id].name == "Ward 3"
        assert bob.invitations[room_id].sender == alice.user_id
        assert bob.invitations[room_id].content["is_direct"] is True
        assert await bob.refusal("room_messages", room_id) == "M_FORBIDDEN"


async def test_a_profile_and_its_changes_are_seen_in_rooms(meeting: Meeting) -> None:
    await meeting.alice.call("set_displayname", "Dr. Alice")
    await meeting.bob.until(lambda: "Dr. Alice" in meeting.bob.client.rooms[meeting.room_id].names)
    assert (await meeting.bob.call("get_displayname", meeting.alice.user_id)).displayname == "Dr. Alice"


async def test_state_is_set_read_and_needs_power(meeting: Meeting) -> None:
    alice, bob, room_id = meeting.alice, meeting.bob, meeting.room_id
    await alice.call("room_put_state", room_id, "m.room.topic", {"topic": "Night shift"})
    await bob.until(lambda: bob.client.rooms[room_id].topic == "Night shift")
    assert (await bob.call("room_get_state_event", room_id, "m.room.topic")).content["topic"] == "Night shift"
    state = {event["type"] for event in (await bob.call("room_get_state", room_id)).events}
    assert {"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.name"} <= state
    assert await bob.refusal("room_put_state", room_id, "m.room.topic", {"topic": "Bob's"}) == "M_FORBIDDEN"


async def test_a_redacted_message_is_emptied_for_all(meeting: Meeting) -> None:
    alice, bob, room_id = meeting.alice, meeting.bob, meeting.room_id
    event_id = await alice.say(room_id, "a slip")
    await bob.hears(room_id, ["a slip"])
    redaction = (await alice.call("room_redact", room_id, event_id, reason="not for here")).event_id
    await bob.until(lambda: any(event.event_id == redaction for event in bob.timelines[room_id]))
    assert (await bob.call("room_get_event", room_id, event_id)).event.source["content"] == {}


async def test_a_message_that_is_sent_again_is_not_said_twice(meeting: Meeting) -> None:
    content = {"msgtype": "m.text", "body": "once"}
    sent = [
        await meeting.alice.call("room_send", meeting.room_id, "m.room.message", content, tx_id="one") for _ in range(3)
    ]
    assert len({response.event_id for response in sent}) == 1
    await meeting.alice.say(meeting.room_id, "twice")
    await meeting.bob.hears(meeting.room_id, ["once", "twice"])


async def test_who_left_gets_nothing_more(meeting: Meeting) -> None:
    alice, bob, room_id = meeting.alice, meeting.bob, meeting.room_id
    await alice.say(room_id, "before")
    await bob.hears(room_id, ["before"])
    await meeting.bob_leaves()
    await alice.say(room_id, "after")
    assert (
        await bob.refusal("room_send", room_id, "m.room.message", {"body": "!", "msgtype": "m.text"}) == "M_FORBIDDEN"
    )
    assert (await bob.call("joined_rooms")).rooms == []
    pages = await bob.history(room_id, None, page_size=100)
    assert [event.source["content"].get("body") for event in pages[0]][:2] == [None, "before"]
    await bob.call("room_forget", room_id)
    assert await bob.refusal("room_messages", room_id) == "M_FORBIDDEN"


async def test_a_room_is_found_by_its_alias(meeting: Meeting) -> None:
    alias = f"#ward.{next(_numbers)}:{meeting.alice.user_id.partition(':')[2]}"
    await meeting.alice.call("room_put_alias", alias, meeting.room_id)
    assert (await meeting.bob.call("room_resolve_alias", alias)).room_id == meeting.room_id
    assert (await meeting.bob.call("join", alias)).room_id == meeting.room_id
    await meeting.alice.call("room_delete_alias", alias)
    assert await meeting.bob.refusal("room_resolve_alias", alias) == "M_NOT_FOUND"


async def test_a_banned_user_stays_out_until_unbanned(meeting: Meeting) -> None:
    alice, bob, room_id = meeting.alice, meeting.bob, meeting.room_id
    await alice.call("room_ban", room_id, bob.user_id, reason="shift is over")
    assert await bob.refusal("join", room_id) == "M_FORBIDDEN"
    assert [member.user_id for member in (await alice.call("joined_members", room_id)).members] == [alice.user_id]
    await alice.call("room_unban", room_id, bob.user_id)
    await alice.call("room_invite", room_id, bob.user_id)
    await bob.call("join", room_id)
    await alice.call("room_kick", room_id, bob.user_id)
    assert (await bob.call("joined_rooms")).rooms == []


async def test_an_event_is_found_with_its_context(meeting: Meeting) -> None:
    said = [await meeting.bob.say(meeting.room_id, str(number)) for number in range(5)]
    context = await meeting.alice.call("room_context", meeting.room_id, said[2], limit=4)
    assert context.event.event_id == said[2]
    assert [event.event_id for event in context.events_before] == said[1::-1]
    assert [event.event_id for event in context.events_after] == said[3:]


async def test_a_filter_is_kept_and_used(meeting: Meeting) -> None:
    kept = await meeting.bob.call("upload_filter", room={"timeline": {"types": ["m.room.topic"]}})
    answer = await meeting.bob.call("sync", full_state=True, since="", sync_filter=kept.filter_id)
    events = answer.rooms.join[meeting.room_id].timeline.events
    assert {event.source["type"] for event in events} <= {"m.room.topic"}


async def test_a_new_device_gets_the_whole_picture(meeting: Meeting) -> None:
    from tests.clients.nio_person import logged_in

    said = await meeting.talk()
    async with logged_in(meeting.bob.client.homeserver, meeting.bob.user_id) as phone, phone.syncing(full_state=True):
        room = phone.client.rooms[meeting.room_id]
        assert (room.name, room.topic, room.machine_name) == ("Ward 3", "Handover", meeting.room_id)
        assert set(room.users) == {meeting.alice.user_id, meeting.bob.user_id}
        heard = phone.heard(meeting.room_id)
        assert heard and heard == said[-len(heard) :]
