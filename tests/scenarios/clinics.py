"""Hospitals whose connections can be cut, and whether they agree on a room: what is the same at all of them once they
reach each other again."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.eventually import eventually
from tests.hospitals import Network, NetworkedHospital, run_networked
from tests.people import Person
from tests.wires import Wires, wired
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.storage.rebuild import rebuild_derived

AGREEMENT_S = 60.0
EVENTS = """
SELECT e.event_id, e.rejected IS NOT NULL AS is_rejected, e.soft_failed FROM events AS e
JOIN rooms AS r ON r.nid = e.room_nid WHERE r.room_id = $1 AND e.snapshot IS NOT NULL
"""


@dataclass(repr=False)
class Clinics:
    """Hospitals by name, and the wires between them. `start` runs the hospital of a name."""

    wires: Wires
    start: Callable[[str], AbstractAsyncContextManager[NetworkedHospital]]
    hospitals: dict[str, NetworkedHospital] = field(default_factory=dict)
    _stacks: dict[str, AsyncExitStack] = field(default_factory=dict)

    async def come_up(self, name: str) -> NetworkedHospital:
        """Start a hospital, also again."""
        stack = self._stacks[name] = AsyncExitStack()
        self.hospitals[name] = await stack.enter_async_context(self.start(name))
        return self.hospitals[name]

    async def go_down(self, name: str) -> None:
        """Stop a hospital."""
        await self._stacks.pop(name).aclose()

    async def close(self) -> None:
        """Stop all hospitals."""
        for name in [*self._stacks]:
            await self.go_down(name)

    def back(self, person: Person) -> Person:
        """Somebody whose hospital was started again."""
        return Person(self.of(person).session, person.user_id, person.token, person.device_id)

    def __getitem__(self, name: str) -> NetworkedHospital:
        """The hospital."""
        return self.hospitals[name]

    async def agree(self, room_id: str, people: Sequence[Person], *, but_for: Iterable[str] = ()) -> None:
        """Wait until the servers of these people, who are in the room, have the same events of it, but for older ones.
        Once each has said something on top of them, its state and its members are the same at all of them too; before,
        what one has soft-failed may count for another. Then see that these are also what other servers are told."""
        older = frozenset(but_for)

        async def differ(view: Callable[[Person], Awaitable[dict[str, set[Any]]]]) -> dict[str, Any]:
            return differences([await view(person) for person in people])

        events, state = partial(self._events, room_id, older), partial(self._state, room_id)
        await eventually(partial(differ, events), lambda found: not found, AGREEMENT_S)
        last = [await person.say(room_id, f"the end, says {person.user_id}") for person in people]
        for person in people:
            await eventually(partial(seen, person, room_id, limit=20), lambda ids: set(last) <= set(ids))
        await eventually(partial(differ, state), lambda found: not found)
        for event_id in last:
            assert not await differ(partial(self._told, room_id, event_id))
        for person in people:
            assert person.user_id in (await state(person))["joined"]
            store = inside(self.of(person)).room_sender.queues.store
            async with store.database.transaction() as tx:
                assert (await rebuild_derived(tx, store.codec)).mended == 0

    def of(self, person: Person) -> NetworkedHospital:
        """The hospital where somebody is."""
        return self.hospitals[person.user_id.partition(":")[2]]

    async def events(self, room_id: str, hospital: NetworkedHospital) -> dict[str, str]:
        """What became of the events that have a place in the room's graph, by id."""
        async with inside(hospital).room_sender.queues.store.database.connection() as connection:
            rows = await connection.fetch(EVENTS, room_id)
        fates = {(True, False): "rejected", (False, True): "soft-failed", (False, False): "accepted"}
        return {row["event_id"]: fates[row["is_rejected"], row["soft_failed"]] for row in rows}

    async def _events(self, room_id: str, older: frozenset[str], person: Person) -> dict[str, set[Any]]:
        events = await self.events(room_id, self.of(person))
        return {
            "events": events.keys() - older,
            "rejected": {event_id for event_id, fate in events.items() if fate == "rejected"} - older,
        }

    async def _state(self, room_id: str, person: Person) -> dict[str, set[Any]]:
        state = await person.get(f"rooms/{room_id}/state")
        return {
            "state": {(each["type"], each["state_key"], each["event_id"]) for each in state},
            "joined": set((await person.get(f"rooms/{room_id}/joined_members"))["joined"]),
        }

    async def _told(self, room_id: str, event_id: str, person: Person) -> dict[str, set[Any]]:
        """The state before an event, and what authorises it, as the server of somebody tells another one."""
        asked = self.of(person).name
        asking = next(hospital for name, hospital in self.hospitals.items() if name != asked)
        client = asking.process.homeservers[0].federation.client
        path = f"/_matrix/federation/v1/state_ids/{quote(room_id)}"
        answer = await client.get(ServerName(asked), path, {"event_id": event_id})
        return {key: set(answer[key]) for key in ("pdu_ids", "auth_chain_ids")}


def inside(hospital: NetworkedHospital) -> Homeserver:
    """The services of a hospital."""
    return hospital.process.homeservers[0].homeserver


def differences(views: Sequence[dict[str, set[Any]]]) -> dict[str, list[set[Any]]]:
    """What is not in all views, by what it is, for each of the views; empty where they are the same."""
    common = {what: set[Any].intersection(*(view[what] for view in views)) for what in views[0]}
    found = {what: [view[what] - common[what] for view in views] for what in common}
    return {what: each for what, each in found.items() if any(each)}


async def seen(person: Person, room_id: str, **query: Any) -> list[str]:
    """The ids of events of a page of `/messages`, backwards unless said otherwise."""
    return [event["event_id"] for event in (await person.history(room_id, **query))["chunk"]]


@asynccontextmanager
async def run_clinics(
    names: Sequence[str], dsns: Sequence[str], folder: Path, **federation: Any
) -> AsyncIterator[Clinics]:
    """Hospitals on these databases, all of which reach each other; what fails is tried again soon. `federation` holds
    further options of that section."""
    network = Network.of(folder, names)
    dsn_of = dict(zip(names, dsns, strict=True))

    def start(name: str) -> AbstractAsyncContextManager[NetworkedHospital]:
        options = {"federation": {"hosts": wires.hosts(name), **federation}}
        return run_networked(network, name, dsn_of[name], folder / name, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tim_server.services.transactions.backoff.FIRST_DELAY_S", 0.05)
        patch.setattr("tim_server.services.transactions.send.HEARD_PAUSE_S", 0.0)
        patch.setattr("tim_server.federation.server_health.FIRST_PAUSE_S", 0.05)
        async with wired(network) as wires:
            clinics = Clinics(wires, start)
            try:
                for name in names:
                    await clinics.come_up(name)
                yield clinics
            finally:
                await clinics.close()
