"""A hospital that comes into a room while it can't reach another one in it, of which it knows nothing yet: it can't
verify who is there of that one, until it can.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from tests.eventually import eventually
from tests.hospitals import NetworkedHospital
from tests.people import Person
from tests.scenarios.clinics import Clinics, inside, run_clinics, seen
from tim_server.matrix.errors import Unavailable
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.matrix.server_keys import TIME_MS_MAX
from tim_server.services.rooms.remote.complete_state import ATTEMPTS_MAX, StateCompletion
from tim_server.services.rooms.remote.enter import RoomEntry
from tim_server.storage.state import StateNids

A, B, C = NAMES = ("a.example", "b.example", "c.example")


@pytest.fixture
async def clinics(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Clinics]:
    dsns = [await make_tenant_dsn() for _ in NAMES]
    async with run_clinics(NAMES, dsns, tmp_path_factory.mktemp("clinics")) as clinics:
        yield clinics


@dataclass
class Ward:
    """A room of Alice's, in which Bob has set the topic, and which Carol joins while her server can't reach his."""

    room_id: str
    alice: Person
    bob: Person
    carol: Person


@pytest.fixture
async def ward(clinics: Clinics) -> Ward:
    alice, bob, carol = [await clinics[name].person() for name in NAMES]
    options = {"power_level_content_override": {"events": {"m.room.topic": 0}}}
    room_id = await alice.create_room(**options)
    await bob.join(room_id, A)
    topic = await bob.set_state(room_id, "m.room.topic", {"topic": "Bob's"})
    await eventually(partial(seen, alice, room_id), lambda ids: topic in ids)
    clinics.wires.part({A, C}, {B})
    await carol.join(room_id, A)
    assert await members(carol, room_id) == {alice.user_id, carol.user_id}
    return Ward(room_id, alice, bob, carol)


async def members(person: Person, room_id: str) -> set[str]:
    return set((await person.get(f"rooms/{room_id}/joined_members"))["joined"])


def completion_of(hospital: NetworkedHospital) -> StateCompletion:
    """What completes states, by a clock by which all that waits is due."""
    queues, home = inside(hospital).room_sender.queues, hospital.process.homeservers[0]
    return StateCompletion(
        server_name=queues.author.server_name,
        store=queues.store,
        keys=home.federation.keys,
        heads=queues.heads,
        parsed=queues.parsed,
        joining=inside(hospital).room_join.remote,
        now_ms=itertools.count(TIME_MS_MAX // 2, step=2 * 86_400_000).__next__,
    )


async def noted(hospital: NetworkedHospital) -> dict[str, int]:
    """The servers that could not be verified, and how often that was tried again."""
    async with inside(hospital).room_sender.queues.store.database.connection() as connection:
        rows = await connection.fetch("SELECT server_name, attempts FROM unverified_servers")
    return {row["server_name"]: row["attempts"] for row in rows}


async def test_the_state_is_completed_once_the_other_server_is_there(clinics: Clinics, ward: Ward) -> None:
    room_id, carol = ward.room_id, ward.carol
    since = (await carol.get("sync"))["next_batch"]
    alone = await carol.say(room_id, "is anybody there?")
    await eventually(partial(seen, ward.alice, room_id), lambda ids: alone in ids)
    clinics.wires.mend()
    await eventually(partial(members, carol, room_id), lambda joined: ward.bob.user_id in joined, 60.0)
    told = (await carol.get("sync", since=since))["rooms"]["join"][room_id]
    assert ward.bob.user_id in {event.get("state_key") for event in told["state"]["events"]}
    assert await carol.state(room_id, "m.room.topic") == {"topic": "Bob's"}
    assert await noted(clinics[C]) == {}
    answer = await carol.say(room_id, "there you are")
    await eventually(partial(seen, ward.bob, room_id), lambda ids: {alone, answer} <= set(ids))
    heard = await ward.bob.say(room_id, "here I am")
    await eventually(partial(seen, carol, room_id), lambda ids: heard in ids)
    await clinics.agree(room_id, (ward.alice, ward.bob, carol), but_for=await clinics.events(room_id, clinics[B]))


async def test_a_server_that_never_comes_back_is_given_up(clinics: Clinics, ward: Ward) -> None:
    completion = completion_of(clinics[C])
    for attempt in range(ATTEMPTS_MAX):
        assert await noted(clinics[C]) == {B: attempt}
        await completion.complete_due()
    assert await noted(clinics[C]) == {}
    assert await members(ward.carol, ward.room_id) == {ward.alice.user_id, ward.carol.user_id}


async def test_who_is_joined_stays_so_where_the_state_can_not_be_completed(clinics: Clinics, ward: Ward) -> None:
    room_id, carol = ward.room_id, ward.carol
    clinics.wires.part({A}, {B, C})
    await eventually(partial(knows_keys, clinics[C]))
    await completion_of(clinics[C]).complete_due()
    assert carol.user_id in await members(carol, room_id)
    assert await noted(clinics[C]) == {B: 1}


@dataclass(frozen=True, kw_only=True)
class NoEntry(RoomEntry):
    """What fails at the last step."""

    errors: Iterator[Exception]

    async def enter(self, _join: Event, _before: StateNids) -> EventId:
        raise next(self.errors)


async def test_a_state_that_could_not_be_stored_is_completed_later(clinics: Clinics, ward: Ward) -> None:
    completion = completion_of(clinics[C])
    entry = completion.joining.entry
    fields = ("server_name", "store", "parsed", "resolver", "queues")
    clinics.wires.mend()
    await eventually(partial(knows_keys, clinics[C]))
    errors = itertools.chain([Unavailable(), RuntimeError("a bug")], itertools.repeat(Unavailable()))
    completion.joining.entry = NoEntry(**{name: getattr(entry, name) for name in fields}, errors=errors)
    await completion.complete_due()
    assert (await noted(clinics[C])).keys() == {B}
    with pytest.raises(RuntimeError):
        await completion.complete_due()
    assert (await noted(clinics[C]))[B] >= 2
    completion.joining.entry = entry
    await completion.complete_due()
    assert await noted(clinics[C]) == {}
    assert ward.bob.user_id in await members(ward.carol, ward.room_id)


async def knows_keys(hospital: NetworkedHospital) -> bool:
    """Whether the keys of B can be had there by now."""
    return await hospital.process.homeservers[0].federation.keys.has_any_of(ServerName(B))
