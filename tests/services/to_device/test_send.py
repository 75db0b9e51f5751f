"""Queues of devices that do not sync: who gives way, and what the log says of it."""

from dataclasses import dataclass

from structlog.testing import capture_logs

from tests.open_gate import open_gate
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.to_device.queue import ToDevicePolicy
from tim_server.services.to_device.send import ToDeviceSender
from tim_server.storage.database import Connection
from tim_server.storage.devices import upsert_device
from tim_server.storage.store import Store
from tim_server.storage.users import User, insert_user

SERVER = ServerName("hospital.example")
ALICE, BOB, MALLORY = (UserId(f"@{name}:hospital.example") for name in ("alice", "bob", "mallory"))
BOUND = 200
COUNT_BY_SENDER = "SELECT sender, count(*) FROM to_device_messages WHERE device_id = $1 GROUP BY sender"


@dataclass(frozen=True)
class NewDevices:
    """A small write that makes a user with two devices."""

    users: tuple[UserId, ...] = (ALICE,)
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await insert_user(tx, User(user_id=ALICE, password_hash=None, created_ts=1))
        for device_id in ("PHONE", "TABLET"):
            await upsert_device(tx, ALICE, device_id, sealed_name=None, now=1)


async def test_who_fills_a_queue_gives_way_and_the_log_says_how_much(store: Store) -> None:
    await store.writer.write(NewDevices())
    policy = ToDevicePolicy(per_device_max=BOUND)
    gate = open_gate(store, SERVER)
    sender = ToDeviceSender(server_name=SERVER, writer=store.writer, codec=store.codec, gate=gate, policy=policy)

    async def send(user_id: UserId, number: int, *device_ids: str) -> None:
        requester = Requester(user_id=user_id, device_id="D", token_id=1)
        await sender.send(requester, "m.test", f"{number}", {ALICE: {device_id: {} for device_id in device_ids}})

    with capture_logs() as logs:
        for number in range(50):
            await send(BOB, number, "PHONE")
        for number in range(BOUND - 50):
            await send(MALLORY, number, "PHONE")
    assert logs == []
    with capture_logs() as logs:
        for number in range(BOUND, BOUND + 6):
            await send(MALLORY, number, "PHONE", "TABLET")
    told = {"messages": 3, "devices": 1, "per_device_max": BOUND}
    assert [{key: entry[key] for key in told} for entry in logs] == [told, told]
    async with store.database.connection() as connection:
        assert dict(await connection.fetch(COUNT_BY_SENDER, "PHONE")) == {BOB: 50, MALLORY: 150}
        assert dict(await connection.fetch(COUNT_BY_SENDER, "TABLET")) == {MALLORY: 6}
