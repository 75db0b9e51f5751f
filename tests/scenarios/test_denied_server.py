"""A hospital that a room's access control list denies, until it is let in again: it is told nothing, nor listened to.

Spec: https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from tests.eventually import eventually
from tests.people import Person
from tests.scenarios.clinics import Clinics, run_clinics, seen
from tim_server.federation.errors import RemoteError
from tim_server.matrix.identifiers import ServerName

A, B, C = NAMES = ("a.example", "b.example", "c.example")
SERVER_ACL = "m.room.server_acl"
DENIAL = {"allow": ["*"], "deny": [C]}


@pytest.fixture(scope="module")
async def clinics(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Clinics]:
    dsns = [await make_tenant_dsn() for _ in NAMES]
    async with run_clinics(NAMES, dsns, tmp_path_factory.mktemp("clinics")) as clinics:
        yield clinics


async def hear(event_id: str, room_id: str, *people: Person) -> None:
    """Wait until people see an event."""
    for person in people:
        await eventually(partial(seen, person, room_id, limit=20), lambda ids: event_id in ids)


async def test_a_denied_server_is_told_nothing_and_not_listened_to_until_it_is_let_in(clinics: Clinics) -> None:
    alice, bob, dora = [await clinics[name].person() for name in NAMES]
    levels = {"users": {alice.user_id: 100, bob.user_id: 100}}
    room_id = await alice.create_room(room_version="11", power_level_content_override=levels)
    other_id = await alice.create_room()
    for person in (bob, dora):
        await person.join(room_id, A)
        await eventually(partial(alice.state, room_id, "m.room.member", person.user_id))
        await person.join(other_id, A)
    await hear(await alice.say(room_id, "all of you"), room_id, bob, dora)
    denial = await alice.set_state(room_id, SERVER_ACL, DENIAL)
    await hear(denial, room_id, bob, dora)
    known = await clinics.events(room_id, clinics[A])

    withheld = [await alice.say(room_id, "without Dora"), await bob.say(room_id, "nor do I tell her")]
    unheard = await dora.say(room_id, "can you hear me?")
    await hear(withheld[0], room_id, bob)
    await hear(withheld[1], room_id, alice)
    for sender in (alice, bob, dora):  # which comes after what was withheld, if that comes at all
        await hear(await sender.say(other_id, f"from {sender.user_id}"), other_id, alice, bob, dora)
    assert not {*withheld} & (await clinics.events(room_id, clinics[C])).keys()
    for hospital in (clinics[A], clinics[B]):
        assert unheard not in await clinics.events(room_id, hospital)
    await refuses_all(clinics, room_id, denial)

    let_in = await bob.set_state(room_id, SERVER_ACL, {"allow": ["*"]})
    await hear(let_in, room_id, alice, dora)
    await hear(await dora.say(room_id, "back again"), room_id, alice, bob)
    await hear(unheard, room_id, alice, bob)
    await hear(withheld[0], room_id, dora)
    await clinics.agree(room_id, (alice, bob, dora), but_for=known)


async def test_a_denied_server_is_not_told_who_types_and_who_reads(clinics: Clinics) -> None:
    alice, dora = await clinics[A].person(), await clinics[C].person()
    room_id, other_id = [await alice.create_room(room_version="11") for _ in range(2)]
    for room in (room_id, other_id):
        await dora.join(room, A)
        await hear(await alice.say(room, "welcome"), room, dora)
    denial = await alice.set_state(room_id, SERVER_ACL, DENIAL)
    await hear(denial, room_id, dora)
    await type_and_read(alice, room_id, denial)
    last = await alice.say(other_id, "here she is told")
    await type_and_read(alice, other_id, last)
    await eventually(
        partial(told_of, alice, dora, other_id), lambda told: told == {"m.typing": True, "m.receipt": last}
    )
    assert await told_of(alice, dora, room_id) == {"m.typing": False, "m.receipt": None}

    let_in = await alice.set_state(room_id, SERVER_ACL, {"allow": ["*"]})
    await hear(let_in, room_id, dora)
    await type_and_read(alice, room_id, let_in)
    await eventually(partial(told_of, alice, dora, room_id), lambda told: told["m.receipt"] == let_in)


async def type_and_read(person: Person, room_id: str, event_id: str) -> None:
    """Somebody has read an event and begins to type."""
    await person.post(f"rooms/{room_id}/receipt/m.read/{event_id}")
    await person.put(f"rooms/{room_id}/typing/{person.user_id}", {"typing": True, "timeout": 30_000})


async def told_of(person: Person, other: Person, room_id: str) -> dict[str, Any]:
    """Whether the other one is told that somebody types, and what they have read."""
    events = (await other.sync_now())["rooms"]["join"][room_id].get("ephemeral", {"events": []})["events"]
    contents = {event["type"]: event["content"] for event in events}
    read = contents.get("m.receipt", {}).items()
    return {
        "m.typing": person.user_id in contents.get("m.typing", {}).get("user_ids", ()),
        "m.receipt": next((e for e, receipts in read if person.user_id in receipts.get("m.read", {})), None),
    }


async def refuses_all(clinics: Clinics, room_id: str, event_id: str) -> None:
    """A refuses whatever C asks about the room."""
    client = clinics[C].process.homeservers[0].federation.client
    room = quote(room_id)
    for path, query in (
        (f"state_ids/{room}", {"event_id": event_id}),
        (f"state/{room}", {"event_id": event_id}),
        (f"event_auth/{room}/{quote(event_id)}", {}),
        (f"event/{quote(event_id)}", {}),
        (f"backfill/{room}", {"v": event_id, "limit": "10"}),
        (f"make_join/{room}/{quote('@eve:c.example')}", {"ver": "11"}),
        (f"make_leave/{room}/{quote('@eve:c.example')}", {}),
        (f"timestamp_to_event/{room}", {"ts": "0", "dir": "f"}),
    ):
        with pytest.raises(RemoteError) as raised:
            await client.get(ServerName(A), f"/_matrix/federation/v1/{path}", query)
        assert (raised.value.status, raised.value.errcode) == (403, "M_FORBIDDEN"), path
