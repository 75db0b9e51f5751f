"""Keys and messages with two processes on one database, and with content that is sealed."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from tests.lonely import lonely_client
from tests.open_gate import open_gate
from tests.services.sync.conftest import build_sync
from tests.table_dump import open_tables
from tim_server.matrix.errors import TooLarge
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.key_backup.keys import BackupKeys
from tim_server.services.key_backup.versions import BackupVersions
from tim_server.services.keys.claim import KeyClaim
from tim_server.services.keys.query import KeyQuery
from tim_server.services.keys.remote_keys import RemoteKeyCache
from tim_server.services.keys.upload import KeyUpload, PublishedKeys
from tim_server.services.sync.request import SyncRequest
from tim_server.services.sync.sync import Sync
from tim_server.services.sync.tokens import parse_sync_token
from tim_server.services.to_device.queue import ToDevicePolicy
from tim_server.services.to_device.send import ToDeviceSender
from tim_server.storage.codec import make_codec
from tim_server.storage.database import Connection, DatabaseOptions
from tim_server.storage.devices import upsert_device
from tim_server.storage.key_backups import BackupKey
from tim_server.storage.store import Store, open_store
from tim_server.storage.users import User, insert_user

SERVER = ServerName("hospital.example")
ALICE, BOB = UserId("@alice:hospital.example"), UserId("@bob:hospital.example")
ALGORITHM = "x"
SECRET = "a secret that nobody else may read"


@dataclass(frozen=True)
class Process:
    """The services of one process; content is sealed."""

    store: Store
    sync: Sync

    @property
    def common(self) -> dict[str, Any]:
        return {"database": self.store.database, "writer": self.store.writer, "codec": self.store.codec}

    async def upload(self, **keys: Any) -> Any:
        return await KeyUpload(**self.common).upload(requester(ALICE), PublishedKeys(**keys))

    async def claim(self) -> list[str]:
        """The names of the keys that a claim gets."""
        claim = KeyClaim(
            server_name=SERVER,
            writer=self.store.writer,
            codec=self.store.codec,
            client=lonely_client(SERVER),
            gate=open_gate(self.store, SERVER),
        )
        answer = orjson.loads(await claim.claim({ALICE: {"D": ALGORITHM}}))
        return [name for of_user in answer["one_time_keys"].values() for keys in of_user.values() for name in keys]

    async def send(self, content: dict[str, Any], txn_id: str) -> None:
        sender = ToDeviceSender(
            server_name=SERVER,
            writer=self.store.writer,
            codec=self.store.codec,
            gate=open_gate(self.store, SERVER),
            policy=ToDevicePolicy(),
        )
        await sender.send(requester(BOB), "m.test", txn_id, {ALICE: {"D": content}})

    async def answer(self, since: str | None, timeout_ms: int = 0) -> dict[str, Any]:
        token = None if since is None else parse_sync_token(since)
        asked = SyncRequest(since=token, timeout_ms=timeout_ms)
        answer: dict[str, Any] = orjson.loads(await self.sync.sync(requester(ALICE), asked))
        return answer

    async def waiting_messages(self) -> int:
        async with self.store.database.connection() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM to_device_messages"))


def requester(user_id: UserId) -> Requester:
    return Requester(user_id=user_id, device_id="D", token_id=1)


def messages(answer: dict[str, Any]) -> list[Any]:
    return [event["content"] for event in answer.get("to_device", {"events": []})["events"]]


@dataclass(frozen=True)
class NewUser:
    """A small write that makes a user with a device."""

    users: tuple[UserId, ...]
    streams: tuple[str, ...] = ("devices",)

    async def store(self, tx: Connection, position: int) -> None:
        await insert_user(tx, User(user_id=self.users[0], password_hash=None, created_ts=1))
        await upsert_device(tx, self.users[0], "D", sealed_name=None, now=1)


@pytest.fixture(scope="module")
async def processes(tenant_dsn: str) -> AsyncIterator[tuple[Process, Process]]:
    codec = make_codec(os.urandom(32))
    stores = [await open_store(DatabaseOptions(dsn=tenant_dsn), codec) for _ in range(2)]
    for user_id in (ALICE, BOB):
        await stores[0].writer.write(NewUser((user_id,)))
    here, there = [Process(store, build_sync(store)) for store in stores]
    yield here, there
    for process in (here, there):
        await process.sync.close()
        await process.store.close()


Two = tuple[Process, Process]


async def test_two_processes_never_give_out_the_same_key(processes: Two) -> None:
    keys = {f"{ALGORITHM}:{number}": "key" for number in range(100)}
    await processes[0].upload(one_time_keys=keys)
    claims = await asyncio.gather(*(processes[number % 2].claim() for number in range(120)))
    given = [name for claimed in claims for name in claimed]
    assert sorted(given) == sorted(keys)


async def test_counts_are_right_in_every_process_after_a_change_in_one(processes: Two) -> None:
    tokens = [(await process.answer(None))["next_batch"] for process in processes]
    for process, since in zip(processes, tokens, strict=True):
        await process.answer(since)
    await processes[0].upload(one_time_keys={f"{ALGORITHM}:new{number}": "key" for number in range(4)})
    for left in (3, 2, 1, 0):
        await processes[left % 2].claim()
        for process, since in zip(processes, tokens, strict=True):
            counts = (await process.answer(since))["device_one_time_keys_count"]
            assert counts.get(ALGORITHM, 0) == left


async def test_a_claim_elsewhere_wakes_the_device(processes: Two) -> None:
    here, there = processes
    await here.upload(one_time_keys={f"{ALGORITHM}:wake": "key"})
    since = (await here.answer(None))["next_batch"]
    waiting = asyncio.create_task(here.answer(since, timeout_ms=20_000))
    await asyncio.sleep(0.1)
    assert await there.claim() == [f"{ALGORITHM}:wake"]
    async with asyncio.timeout(10):
        assert (await waiting)["device_one_time_keys_count"].get(ALGORITHM, 0) == 0


async def test_messages_come_once_in_order_whichever_process_is_asked(processes: Two) -> None:
    since = (await processes[0].answer(None))["next_batch"]
    received: list[Any] = []
    for number in range(230):
        await processes[number % 2].send({"n": number}, f"order{number}")
    for number in range(8):
        answer = await processes[number % 2].answer(since)
        received += messages(answer)
        since = answer["next_batch"]
    assert [content["n"] for content in received] == list(range(230))


async def test_what_another_process_gave_is_removed_in_the_end(processes: Two) -> None:
    here, there = processes
    since = (await there.answer((await here.answer(None))["next_batch"]))["next_batch"]
    await here.send({"n": 1}, "removed1")
    answer = await here.answer(since)
    assert messages(answer) == [{"n": 1}]
    covering = (await there.answer(answer["next_batch"]))["next_batch"]
    await here.send({"n": 2}, "removed2")
    answer = await there.answer(covering)
    assert messages(answer) == [{"n": 2}]
    await there.answer(answer["next_batch"])
    assert await there.waiting_messages() == 0


async def test_what_a_process_gave_before_it_was_restarted_is_removed_after(processes: Two) -> None:
    here, _ = processes
    await here.send({"n": 1}, "restart")
    answer = await here.answer(None)
    assert messages(answer) == [{"n": 1}]
    here.sync.to_device.clear()
    await here.answer(answer["next_batch"])
    assert await here.waiting_messages() == 0


async def test_nothing_that_users_wrote_is_stored_in_the_open(processes: Two, tenant_dsn: str) -> None:
    here, _ = processes
    keys = {"user_id": ALICE, "device_id": "D", "algorithms": [SECRET], "keys": {}, "signatures": {}}
    await here.upload(
        device_keys=keys, one_time_keys={"a:1": SECRET}, fallback_keys={"a:1": {"key": SECRET, "fallback": True}}
    )
    await here.send({"x": SECRET}, "sealed")
    versions, backup = BackupVersions(**here.common), BackupKeys(keys_max=10, **here.common)
    version = await versions.create(ALICE, "x", {"x": SECRET})
    key = BackupKey(
        room_id="!a:b",
        session_id="s",
        first_message_index=0,
        forwarded_count=0,
        is_verified=True,
        session_data=orjson.dumps(SECRET),
    )
    await backup.put(ALICE, version, [key])
    query = KeyQuery(
        server_name=SERVER,
        database=here.store.database,
        codec=here.store.codec,
        remote=RemoteKeyCache(store=here.store, client=lonely_client(SERVER)),
        gate=open_gate(here.store, SERVER),
        users_max=10,
    )
    assert SECRET.encode() in await query.query(BOB, {ALICE: []})
    async with open_tables(tenant_dsn) as tables:
        rows = "".join(row for _, row in await tables.dump())
    assert SECRET not in rows
    assert SECRET.encode().hex() not in rows


async def test_a_backup_holds_no_more_keys_than_the_bound_says(processes: Two) -> None:
    here, _ = processes
    versions, backup = BackupVersions(**here.common), BackupKeys(keys_max=2, **here.common)
    version = await versions.create(ALICE, "x", {})
    keys = [
        BackupKey(
            room_id="!a:b",
            session_id=str(number),
            first_message_index=0,
            forwarded_count=0,
            is_verified=True,
            session_data=b"{}",
        )
        for number in range(3)
    ]
    with pytest.raises(TooLarge):
        await backup.put(ALICE, version, keys)
    assert (await backup.put(ALICE, version, keys[:2])).count == 2
