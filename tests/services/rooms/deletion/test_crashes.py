"""A deletion goes on where it was, whatever fails and whenever the server ends, also where several processes serve."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.admin_api.test_deleted_rooms_in_tables import found_in
from tests.deleting import administrator, begin, completed, deleted
from tests.files import uploaded
from tests.people import Hospital, Person, run_hospital
from tests.table_dump import open_tables
from tim_server.matrix.identifiers import UserId
from tim_server.services.rooms.deletion import carry_out, purge
from tim_server.services.rooms.leave import RoomLeave
from tim_server.storage.connect import connect

SEALING = {"key": base64.b64encode(bytes(range(32))).decode()}
STEPS = (
    (carry_out, "note_left"),
    (carry_out, "note_all_left"),
    (carry_out, "advance"),
    (purge, "part_with"),
    (purge, "purge_rows"),
    (purge, "note_purged"),
    (purge, "purge_of_users"),
    (purge, "advance"),
    (purge, "finish"),
)


async def filled_room(hospital: Hospital, *, messages: int = 20) -> tuple[Person, str]:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(invite=[(await hospital.person()).user_id])
    await bob.join(room_id)
    for _ in range(messages):
        await alice.say(room_id, "hello")
    return alice, room_id


async def multiply(dsn: str, room_id: str, times: int) -> None:
    """Have a room hold many more events, which none of its state names."""
    connection = await connect(dsn)
    await connection.execute(
        "INSERT INTO events (nid, room_nid, depth, origin_server_ts, event_id, type, sender, prev_nids,"
        " auth_nids, body) SELECT -row_number() OVER (), room_nid, 1, 1, event_id || n, 'm', sender, '{}', '{}', body"
        " FROM events, generate_series(1, $2) AS n WHERE room_nid = (SELECT nid FROM rooms WHERE room_id = $1)",
        room_id,
        times,
    )
    await connection.close()


async def nids_of(dsn: str, room_id: str) -> set[int]:
    connection = await connect(dsn)
    nid = await connection.fetchval("SELECT nid FROM rooms WHERE room_id = $1", room_id)
    rows = await connection.fetch("SELECT nid FROM events WHERE room_nid = $1", nid)
    await connection.close()
    return {nid, *(row["nid"] for row in rows)}


async def assert_nothing_stays(dsn: str, room_id: str, nids: set[int]) -> None:
    async with open_tables(dsn) as tables:
        found = found_in(await tables.dump(), room_id, nids)
    assert found.keys() <= {"rooms", "audit_log", "room_deletions", "blocked_rooms"}, found


async def test_each_step_may_fail(tenant_dsn: str, hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fails once, after it has done what it does, and is done again."""
    failed: set[tuple[str, str]] = set()

    def failing_once(module: Any, name: str) -> Callable[..., Awaitable[Any]]:
        step = getattr(module, name)

        async def fail(*arguments: Any, **options: Any) -> Any:
            value = await step(*arguments, **options)
            if (module.__name__, name) not in failed:
                failed.add((module.__name__, name))
                raise RuntimeError("as if the process had ended")
            return value

        return fail

    admin = await administrator(hospital, tenant_dsn)
    alice, room_id = await filled_room(hospital)
    since = (await alice.get("sync"))["next_batch"]
    nids = await nids_of(tenant_dsn, room_id)
    for module, name in STEPS:
        monkeypatch.setattr(module, name, failing_once(module, name))
    deletion = await completed(admin, await begin(admin, room_id))
    assert len(failed) == len(STEPS)
    assert deletion["problem"] is None and deletion["events_deleted"] >= 20
    await assert_nothing_stays(tenant_dsn, room_id, nids)
    assert room_id in (await alice.get("sync", since=since))["rooms"]["leave"]


async def test_who_can_not_leave_keeps_nobody_else_in(
    tenant_dsn: str, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, stuck = await administrator(hospital, tenant_dsn), await hospital.person("000-stuck")
    alice, room_id = await filled_room(hospital, messages=1)
    await stuck.join(room_id)
    since = (await alice.get("sync"))["next_batch"]
    leave_by = RoomLeave.leave_by

    async def leave_unless_stuck(leaving: RoomLeave, user_id: UserId, *arguments: Any) -> Any:
        if user_id == stuck.user_id:
            raise RuntimeError("as if by mistake")
        return await leave_by(leaving, user_id, *arguments)

    monkeypatch.setattr(RoomLeave, "leave_by", leave_unless_stuck)
    monkeypatch.setattr(carry_out, "LEAVES_PER_STEP", 1)
    monkeypatch.setattr(carry_out, "LEAVE_ATTEMPTS_MAX", 2)
    deletion = await deleted(admin, room_id)
    assert deletion["left_count"] == 3 and stuck.user_id not in deletion["left_users"]
    assert room_id in (await alice.get("sync", since=since))["rooms"]["leave"]
    assert room_id not in str(await stuck.sync_now())


async def test_a_server_that_ends_and_starts_goes_on(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path
) -> None:
    dsn = await make_tenant_dsn()
    async with run_hospital(dsn, tmp_path, sealing=SEALING) as hospital:
        admin = await administrator(hospital, dsn)
        alice, room_id = await filled_room(hospital)
        file = await uploaded(alice, b"a file")
        await alice.send(room_id, {"msgtype": "m.file", "body": "a file", "url": f"mxc://{file}"})
        since = (await alice.get("sync"))["next_batch"]
        await multiply(dsn, room_id, 400)
        nids = await nids_of(dsn, room_id)
        delete_id = await begin(admin, room_id)
    for pause_s in (0.02, 0.1, 0.25, 0.4, 1.1):
        async with run_hospital(dsn, tmp_path, sealing=SEALING) as hospital:
            await asyncio.sleep(pause_s)
    async with run_hospital(dsn, tmp_path, sealing=SEALING) as hospital:
        admin.session = alice.session = hospital.session
        deletion = await completed(admin, delete_id)
        assert deletion["left_count"] >= 3 and deletion["events_deleted"] > 8_000
        await assert_nothing_stays(dsn, room_id, nids)
        assert deletion["files_deleted"] == 1
        (told,) = (await alice.get("sync", since=since))["rooms"]["leave"][room_id]["timeline"]["events"]
        assert told["content"] == {"membership": "leave"}
        assert room_id not in str(await alice.sync_now())


async def test_all_processes_forget_the_room(make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path) -> None:
    dsn = await make_tenant_dsn()
    async with run_hospital(dsn, tmp_path) as one, run_hospital(dsn, tmp_path) as other:
        admin = await administrator(one, dsn)
        alice, room_id = await filled_room(one)
        beside = Person(other.session, alice.user_id, alice.token, alice.device_id)
        await beside.say(room_id, "from the other process")
        since = (await beside.get("sync"))["next_batch"]
        waiting = asyncio.create_task(beside.get("sync", since=since, timeout=10_000))
        is_over = asyncio.Event()

        async def talk() -> list[int]:
            statuses = []
            while not is_over.is_set():
                path = f"rooms/{room_id}/send/m.room.message/t{len(statuses)}"
                statuses.append((await beside.request("PUT", path, {"msgtype": "m.text", "body": "hello"}))[0])
            return statuses

        talking = asyncio.create_task(talk())
        nids = await nids_of(dsn, room_id)
        await deleted(admin, room_id)
        is_over.set()
        statuses = await talking
        assert statuses[-1] in (403, 404) and {*statuses} <= {200, 403, 404}
        await waiting
        await assert_nothing_stays(dsn, room_id, nids)
        assert room_id not in str(await beside.sync_now())
