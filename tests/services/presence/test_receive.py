"""Presence of users of other servers over time."""

import pytest

from tests.account_services import Clock
from tests.services.rooms import conftest as room_fixtures
from tests.services.rooms.conftest import Rooms
from tests.services.rooms.forks import CAROL, CLINIC, room_with_carol
from tim_server.matrix.presence import OFFLINE, ONLINE, UserPresence
from tim_server.services.presence.audience import PresenceAudience
from tim_server.services.presence.policy import PresencePolicy
from tim_server.services.presence.receive import TOLD_FOR_MS, PresenceReceiver
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.presence import PRESENCE_STREAM, load_presence, reap
from tim_server.storage.store import Store

author, rooms = room_fixtures.author, room_fixtures.rooms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
async def nobody_is_there(store: Store) -> None:
    async with store.database.transaction() as tx:
        await tx.execute("DELETE FROM presence")


@pytest.fixture
def receiver(store: Store, clock: Clock) -> PresenceReceiver:
    audience = PresenceAudience(codec=store.codec, policy=PresencePolicy(room_members_max=3))
    return PresenceReceiver(database=store.database, writer=store.writer, audience=audience, now_ms=clock)


async def carol(store: Store) -> UserPresence:
    async with store.database.connection() as connection:
        return (await load_presence(connection, store.codec, [CAROL]))[CAROL]


def online(ago_ms: int = 0) -> dict[str, object]:
    return {"push": [{"user_id": CAROL, "presence": ONLINE, "last_active_ago": ago_ms}]}


async def test_who_is_heard_of_no_more_is_offline_after_half_an_hour(
    rooms: Rooms, store: Store, clock: Clock, receiver: PresenceReceiver
) -> None:
    await room_with_carol(rooms)
    told: list[CommitEntry] = []
    store.commit_log.subscribe(lambda entry: told.append(entry) if CAROL in entry.users else None)
    await receiver.receive(CLINIC.server_name, [online()])
    clock.advance(TOLD_FOR_MS - 1)
    await receiver.look_after()
    assert (await carol(store)).presence == ONLINE
    await receiver.receive(CLINIC.server_name, [online()])  # a repeat tells nobody anything, but it holds longer
    clock.advance(TOLD_FOR_MS - 1)
    await receiver.look_after()
    assert (await carol(store)).presence == ONLINE and len(told) == 1
    clock.advance(1)
    await receiver.look_after()
    assert (await carol(store)).presence == OFFLINE
    assert [fact.stream for facts in told[1].facts.values() for fact in facts] == [PRESENCE_STREAM]


async def test_a_repeat_only_moves_when_the_user_was_active(
    rooms: Rooms, store: Store, clock: Clock, receiver: PresenceReceiver
) -> None:
    await room_with_carol(rooms)
    await receiver.receive(CLINIC.server_name, [online()])
    clock.advance(60_000)
    position = store.commit_log.position
    await receiver.receive(CLINIC.server_name, [online(10_000)])
    assert (await carol(store)).last_active_ts == clock() - 10_000
    assert store.commit_log.position == position


async def test_who_has_been_offline_for_a_day_is_forgotten(
    rooms: Rooms, store: Store, clock: Clock, receiver: PresenceReceiver
) -> None:
    await room_with_carol(rooms)
    await receiver.receive(CLINIC.server_name, [{"push": [{"user_id": CAROL, "presence": OFFLINE}]}, online(5)])
    clock.advance(TOLD_FOR_MS)
    await receiver.look_after()
    async with store.database.transaction() as tx:
        await tx.execute("UPDATE presence SET expires_ts = 1 WHERE user_id = $1", CAROL)
        await reap(tx)
        left = await tx.fetchval("SELECT count(*) FROM presence WHERE user_id = $1", CAROL)
    assert left == 0 and (await carol(store)).presence == OFFLINE


async def test_nothing_is_kept_where_presence_is_switched_off(rooms: Rooms, store: Store, clock: Clock) -> None:
    await room_with_carol(rooms)
    audience = PresenceAudience(codec=store.codec, policy=PresencePolicy(enabled=False))
    receiver = PresenceReceiver(database=store.database, writer=store.writer, audience=audience, now_ms=clock)
    await receiver.receive(CLINIC.server_name, [online()])
    assert (await carol(store)).presence == OFFLINE
