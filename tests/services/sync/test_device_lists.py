"""Device lists in answers that are made while the world goes on."""

from dataclasses import dataclass

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.steps import room_of
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.sync.parts import Told
from tim_server.services.sync.request import Reading
from tim_server.services.sync.to_device import ToDevicePart
from tim_server.services.sync.window import Window
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.device_lists import mark_changed
from tim_server.storage.store import Store


@dataclass(slots=True, kw_only=True)
class DevicesChange:
    """A small write: something changes of the devices of a user."""

    users: tuple[UserId, ...]
    streams: tuple[str, ...] = (DEVICES,)
    facts: tuple[Fact, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        self.facts = tuple(await mark_changed(tx, self.users[0], position))


async def test_who_leaves_while_an_answer_is_made_is_told_of_by_the_next(
    rooms: Rooms, device: MakeDevice, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE)
    await alice.next()
    await alice.next()
    from_tail = ToDevicePart.from_tail

    async def meanwhile(part: ToDevicePart, reading: Reading, window: Window) -> Told | None:
        monkeypatch.setattr(ToDevicePart, "from_tail", from_tail)
        await rooms.member(room_id, BOB, "leave")
        return await from_tail(part, reading, window)

    monkeypatch.setattr(ToDevicePart, "from_tail", meanwhile)
    await store.writer.write(DevicesChange(users=(ALICE,)))
    assert (await alice.next())["device_lists"] == {"changed": [ALICE], "left": []}
    assert (await alice.next())["device_lists"] == {"changed": [], "left": [BOB]}
