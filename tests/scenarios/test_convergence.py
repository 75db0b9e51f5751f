"""Hospitals that lose each other while their people go on in the same room: once they reach each other again, the room
is the same at all of them.

Spec: https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from random import Random

import pytest

from tests.durability.form import MORE_SEEDS
from tests.eventually import eventually
from tests.hospitals import NetworkedHospital
from tests.people import Person
from tests.scenarios.clinics import Clinics, inside, run_clinics, seen
from tests.scenarios.unrest import Unrest, power_levels, server_of

A, B, C = NAMES = ("a.example", "b.example", "c.example")
D = "d.example"
PARTITIONS = (({A}, {B, C}), ({A, B}, {C}), ({A, C}, {B}), ({A}, {B}, {C}))
PARTITIONS_OF_FOUR = (({A, D}, {B, C}), ({A, B}, {C, D}), ({A, C}, {B}, {D}), ({A, B, C}, {D}), ({A}, {B}, {C, D}))
ROUNDS, ACTS = 3, 10


@pytest.fixture(scope="module")
async def clinics(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Clinics]:
    dsns = [await make_tenant_dsn() for _ in NAMES]
    async with run_clinics(NAMES, dsns, tmp_path_factory.mktemp("clinics")) as clinics:
        yield clinics


@pytest.fixture(scope="module")
async def four_clinics(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Clinics]:
    dsns = [await make_tenant_dsn() for _ in (*NAMES, D)]
    async with run_clinics((*NAMES, D), dsns, tmp_path_factory.mktemp("four-clinics")) as clinics:
        yield clinics


async def begin_unrest(clinics: Clinics, version: str, dice: Random) -> Unrest:
    """A room with a chief of each hospital, and two more people of each."""
    chiefs = [await clinics[name].person() for name in NAMES]
    staff = [await clinics[name].person() for name in NAMES for _ in range(2)]
    levels = power_levels(chiefs[1:] if version == "12" else chiefs, {person.user_id: 50 for person in staff[::2]})
    room_id = await chiefs[0].create_room(room_version=version, power_level_content_override=levels)
    for group in (chiefs[1:], staff):  # who comes while others do need not be told of at once by those who know them
        for person in group:
            await person.join(room_id, A)
        await clinics.agree(room_id, chiefs, but_for=await clinics.events(room_id, clinics[A]))
    named = chiefs[1:] if version == "12" else chiefs
    return Unrest(room_id, chiefs, staff, dice, named)


async def part_and_mend(clinics: Clinics, version: str, seed: int) -> Unrest:
    """What happens in some rounds in which the hospitals lose each other in one way or another."""
    dice = Random(seed)
    unrest = await begin_unrest(clinics, version, dice)
    before = await clinics.events(unrest.room_id, clinics[A])
    for _ in range(ROUNDS):
        if dice.random() < 0.3:
            clinics.wires.cut_between(*dice.sample(NAMES, 2))
            await unrest.rage([{name} for name in NAMES], ACTS)
        else:
            sides = dice.choice(PARTITIONS)
            clinics.wires.part(*sides)
            await unrest.rage(sides, ACTS)
        clinics.wires.mend()
        await unrest.rage([{name} for name in NAMES], dice.randrange(3))
    await clinics.agree(unrest.room_id, unrest.chiefs, but_for=before)
    return unrest


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_hospitals_that_lost_each_other_agree_again(clinics: Clinics, version: str) -> None:
    unrest = await part_and_mend(clinics, version, 1)
    assert unrest.refused < unrest.acts / 2


@pytest.mark.long
@pytest.mark.parametrize("seed", MORE_SEEDS)
@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_hospitals_agree_again_however_it_went(clinics: Clinics, version: str, seed: int) -> None:
    await part_and_mend(clinics, version, seed)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in MORE_SEEDS)])
async def test_hospitals_agree_on_those_of_another_that_come_and_go(four_clinics: Clinics, seed: int) -> None:
    dice, clinics = Random(seed), four_clinics
    unrest = await begin_unrest(clinics, dice.choice(("10", "11", "12")), dice)
    visitors = unrest.visitors = [await clinics[D].person() for _ in range(2)]
    for chief in unrest.chiefs:  # who is out of reach later can't be asked for keys then
        await visitors[0].join(await chief.create_room(), server_of(chief))
    before = await clinics.events(unrest.room_id, clinics[A])
    for _ in range(ROUNDS):
        sides = dice.choice(PARTITIONS_OF_FOUR)
        clinics.wires.part(*sides)
        await unrest.rage(sides, ACTS)
        clinics.wires.mend()
        await unrest.rage([{name} for name in (*NAMES, D)], dice.randrange(4))
    await clinics.agree(unrest.room_id, unrest.chiefs, but_for=before)
    for visitor in visitors:  # they may believe to be in the room when those whose word counts say that they are not
        await visitor.request("POST", f"rooms/{unrest.room_id}/leave", {})
    await clinics.agree(unrest.room_id, unrest.chiefs, but_for=before)
    await let_in(unrest, visitors[0])
    everything = set(before).union(*[await clinics.events(unrest.room_id, clinics[name]) for name in (*NAMES, D)])
    await clinics.agree(unrest.room_id, (*unrest.chiefs, visitors[0]), but_for=everything)


async def let_in(unrest: Unrest, visitor: Person) -> None:
    """Have a visitor join, whatever has happened to them."""
    await unrest.chiefs[0].request("POST", f"rooms/{unrest.room_id}/unban", {"user_id": visitor.user_id})
    await unrest.chiefs[0].request("POST", f"rooms/{unrest.room_id}/invite", {"user_id": visitor.user_id})
    await visitor.join(unrest.room_id, A)


@dataclass
class Ward:
    """A room of Alice's at A, with Bob, who has some power, and Carol, both at B, and Dora at C."""

    room_id: str
    alice: Person
    bob: Person
    carol: Person
    dora: Person
    before: dict[str, str]


@pytest.fixture
async def ward(clinics: Clinics) -> Ward:
    alice, dora = await clinics[A].person(), await clinics[C].person()
    bob, carol = await clinics[B].person(), await clinics[B].person()
    levels = {"users": {alice.user_id: 100, bob.user_id: 50}}
    room_id = await alice.create_room(room_version="11", power_level_content_override=levels)
    for person in (bob, carol, dora):
        await person.join(room_id, A)
        await eventually(lambda: members(alice, room_id), lambda joined: person.user_id in joined)  # noqa: B023
    before = await clinics.events(room_id, clinics[A])
    await clinics.agree(room_id, (alice, carol, dora), but_for=before)
    return Ward(room_id, alice, bob, carol, dora, before)


async def test_what_somebody_says_elsewhere_after_they_were_banned_is_not_shown_where_they_were(
    clinics: Clinics, ward: Ward
) -> None:
    room_id, bob = ward.room_id, ward.bob
    clinics.wires.part({A, C}, {B})
    await ward.alice.post(f"rooms/{room_id}/ban", {"user_id": bob.user_id})
    await ward.alice.set_state(room_id, "m.room.topic", {"topic": "without Bob"})
    said = [await bob.say(room_id, f"I am still here, {number}") for number in range(3)]
    topic = await bob.set_state(room_id, "m.room.topic", {"topic": "Bob's"})
    answer = await ward.carol.say(room_id, "I hear you")
    clinics.wires.mend()
    await clinics.agree(room_id, (ward.alice, ward.carol, ward.dora), but_for=ward.before)
    for person in (ward.alice, ward.dora):
        shown = await seen(person, room_id, limit=100)
        assert answer in shown and not {*said, topic} & set(shown)
        assert not {*said, topic} & set(await timeline(person, room_id))
        fates = await clinics.events(room_id, clinics.of(person))
        assert {fates[event_id] for event_id in (*said, topic)} == {"soft-failed"}
    assert set(said) <= set(await seen(ward.carol, room_id, limit=100))
    assert await ward.carol.state(room_id, "m.room.topic") == {"topic": "without Bob"}
    await bob.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/send/org.example.late/1", {})


async def timeline(person: Person, room_id: str) -> list[str]:
    """The ids of the events that a first sync tells of the room."""
    answer = await person.get("sync", filter='{"room":{"timeline":{"limit":100}}}')
    return [event["event_id"] for event in answer["rooms"]["join"][room_id]["timeline"]["events"]]


async def test_a_ban_counts_also_where_the_banned_one_has_banned_others(clinics: Clinics, ward: Ward) -> None:
    """Bob and Alice ban at the same time, and it is Alice who may ban Bob."""
    room_id = ward.room_id
    clinics.wires.part({A, C}, {B})
    await ward.alice.post(f"rooms/{room_id}/ban", {"user_id": ward.bob.user_id})
    await ward.bob.post(f"rooms/{room_id}/ban", {"user_id": ward.dora.user_id})
    clinics.wires.mend()
    await clinics.agree(room_id, (ward.alice, ward.carol, ward.dora), but_for=ward.before)
    assert (await ward.dora.state(room_id, "m.room.member", ward.bob.user_id))["membership"] == "ban"
    assert (await ward.carol.state(room_id, "m.room.member", ward.dora.user_id))["membership"] == "join"


async def test_a_hospital_that_comes_in_on_one_side_is_known_on_both_and_knows_both(
    clinics: Clinics, ward: Ward
) -> None:
    room_id = ward.room_id
    await ward.dora.leave(room_id)
    await eventually(lambda: members(ward.alice, room_id), lambda joined: ward.dora.user_id not in joined)
    await eventually(lambda: members(ward.bob, room_id), lambda joined: ward.dora.user_id not in joined)
    clinics.wires.part({A}, {B, C})
    missed = [await ward.alice.say(room_id, f"nobody hears {number}") for number in range(30)]
    await ward.alice.set_state(room_id, "m.room.topic", {"topic": "Alone"})
    before = await clinics.events(room_id, clinics[B])
    await ward.dora.join(room_id, A, B)
    await ward.dora.say(room_id, "back again")
    clinics.wires.mend()
    for person in (ward.alice, ward.bob):
        await eventually(lambda: members(person, room_id), lambda joined: ward.dora.user_id in joined)  # noqa: B023
    await eventually(lambda: seen(ward.bob, room_id, limit=50), lambda ids: set(missed) <= set(ids))
    await ward.bob.say(room_id, "this stands on all")
    await clinics.agree(room_id, (ward.alice, ward.carol, ward.dora), but_for=ward.before | before)
    assert set(missed) <= set(await seen(ward.dora, room_id, limit=100))
    assert await ward.dora.state(room_id, "m.room.topic") == {"topic": "Alone"}


async def members(person: Person, room_id: str) -> set[str]:
    return set((await person.get(f"rooms/{room_id}/joined_members"))["joined"])


async def test_what_could_not_be_asked_for_is_asked_for_once_the_server_is_heard(
    clinics: Clinics, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C reaches A, which does not reach C, nor B, to ask for what comes before."""
    room_id, waiting = ward.room_id, inside(clinics[A]).transaction_receiver.pdus.waiting
    other_id = await ward.dora.create_room()
    await ward.alice.join(other_id, C)
    clinics.wires.part({A}, {B})
    missed = [await ward.bob.say(room_id, f"number {number}") for number in range(5)]
    await eventually(lambda: seen(ward.dora, room_id, limit=20), lambda ids: set(missed) <= set(ids))
    clinics.wires.wires[A, C].cut()
    monkeypatch.setattr(waiting, "options", replace(waiting.options, pause_s=3_600.0, heard_interval_s=0.0))
    last = await ward.dora.say(room_id, "on top of it")
    await eventually(lambda: postponed(clinics[A]))
    clinics.wires.wires[A, C].is_cut = False
    assert last not in await seen(ward.alice, room_id, limit=20)
    await ward.dora.say(other_id, "I am here")
    await eventually(lambda: seen(ward.alice, room_id, limit=20), lambda ids: {*missed, last} <= set(ids))
    clinics.wires.mend()
    await clinics.agree(room_id, (ward.alice, ward.carol, ward.dora), but_for=ward.before)


async def test_what_others_do_not_know_either_is_asked_of_who_sent_it_once_that_can_be_reached(
    clinics: Clinics, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C tells A its newest event only, and nobody but C knows those before it."""
    room_id, waiting = ward.room_id, inside(clinics[A]).transaction_receiver.pdus.waiting
    sending = clinics[C].process.homeservers[0].sending
    monkeypatch.setattr(sending, "outbox_events_max", 2)
    monkeypatch.setattr(waiting, "options", replace(waiting.options, pause_s=1.0))
    clinics.wires.part({A, B}, {C})
    said = [await ward.dora.say(room_id, f"number {number}") for number in range(5)]
    await sending.shorten()
    clinics.wires.wires[C, A].is_cut = False
    await eventually(lambda: postponed(clinics[A]))
    clinics.wires.mend()
    await eventually(lambda: seen(ward.alice, room_id, limit=20), lambda ids: {*said} <= set(ids))
    await clinics.agree(room_id, (ward.alice, ward.carol, ward.dora), but_for=ward.before)


async def postponed(hospital: NetworkedHospital) -> int:
    """How many events have to wait longer."""
    async with inside(hospital).room_sender.queues.store.database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM waiting_pdus WHERE attempts > 0"))
