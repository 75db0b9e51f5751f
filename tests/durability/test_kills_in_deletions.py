"""SIGKILL while rooms are deleted: each deletion is carried out to its end, and nothing of its room or its files
stays."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.durability.api import PATIENCE_S, Account, Api, make_session
from tests.durability.form import KILLS, LIFE_S
from tests.durability.site import Site, run_site
from tests.eventually import eventually
from tests.files import UPLOAD

pytestmark = pytest.mark.long

MESSAGES = 30
COPIES = 200
"""How often each message is there, so that a purge has some steps."""
COPY = (
    "INSERT INTO events (nid, room_nid, depth, origin_server_ts, event_id, type, sender, prev_nids, auth_nids, body)"
    " SELECT (SELECT min(nid) FROM events) - row_number() OVER () - 1, room_nid, 1, 1, event_id || n, type, sender,"
    " '{}', '{}', body FROM events, generate_series(1, $2) AS n"
    " WHERE room_nid = (SELECT nid FROM rooms WHERE room_id = $1) RETURNING nid"
)
LEFT = (
    "SELECT (SELECT count(*) FROM events WHERE room_nid = $1) + (SELECT count(*) FROM memberships WHERE room_nid = $1)"
    " + (SELECT count(*) FROM current_state WHERE room_nid = $1) + (SELECT count(*) FROM rooms WHERE nid = $1)"
    " + (SELECT count(*) FROM media_of_deleted_rooms) AS rows"
)


async def upload(site: Site, account: Account, content: bytes) -> str:
    """The URI of a new file."""
    headers = {"Authorization": f"Bearer {account.token}"}
    async with account.api.session.post(site.base_url + UPLOAD, data=content, headers=headers) as response:
        assert response.status == 200
        return str((await response.json())["content_uri"])


async def filled_room(site: Site, alice: Account, bob: Account) -> tuple[str, int]:
    """A room with a file, many events and two members; its id and nid."""
    room_id = await alice.create_room()
    await bob.join(room_id)
    content = {"msgtype": "m.file", "body": "a file", "url": await upload(site, alice, room_id.encode())}
    await alice.api.insist(alice.token, "PUT", f"/rooms/{quote(room_id)}/send/m.room.message/file", content)
    for number in range(MESSAGES):
        await alice.send(room_id, f"{number}")
    await site.fetch(COPY, room_id, COPIES)
    (row,) = await site.fetch("SELECT nid FROM rooms WHERE room_id = $1", room_id)
    return room_id, row["nid"]


async def delete(site: Site, admin: Account, room_id: str) -> None:
    headers = {"Authorization": f"Bearer {admin.token}"}
    url = f"{site.base_url}/_tim-server/admin/v1/rooms/{quote(room_id)}"
    async with admin.api.session.delete(url, json={}, headers=headers) as response:
        assert response.status == 200, await response.text()


def open_deletions(site: Site) -> Callable[[], Awaitable[Any]]:
    async def look() -> Any:
        return await site.fetch("SELECT status, problem FROM room_deletions WHERE finished_ts IS NULL")

    return look


async def test_deletions_are_killed(open_tmp_path: Path) -> None:
    async with run_site(open_tmp_path / "deletions", worker_count=2) as site, make_session() as session:
        api = Api(session, base_url=site.base_url)
        admin, alice, bob = [await api.register(name) for name in ("admin", "alice", "bob")]
        await site.fetch("UPDATE users SET is_admin = true WHERE user_id = $1 RETURNING 1", admin.user_id)
        rooms: list[tuple[str, int]] = []
        for _ in range(KILLS):
            rooms.append(await filled_room(site, alice, bob))
            await delete(site, admin, rooms[-1][0])
            await asyncio.sleep(random.uniform(*LIFE_S) * 3)
            await site.kill()
            await site.start()
        await eventually(open_deletions(site), lambda rows: not rows, patience_s=PATIENCE_S)
        for _, nid in rooms:
            assert (await site.fetch(LEFT, nid))[0]["rows"] == 0
        (files,) = await site.fetch("SELECT count(*) AS files FROM media")
        assert files["files"] == 0
        answer = await api.insist(alice.token, "GET", "/sync")
        assert not answer.get("rooms"), answer
        assert site.bugs() == []
        rows = await site.fetch("SELECT min(events_deleted) AS least, sum(files_deleted) AS files FROM room_deletions")
        assert rows[0]["least"] > MESSAGES * COPIES and rows[0]["files"] == len(rooms)
