"""Administrators list what a user has uploaded, and delete files. Each act is audited."""

import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.admin_api.conftest import AuditRows
from tests.files import download, uploaded
from tests.images import image
from tests.people import SERVER, Hospital, Person
from tests.table_dump import open_tables
from tim_server.storage.connect import connect

ADMIN = "/_tim-server/admin/v1"
SYNAPSE = "/_synapse/admin/v1"
LATER_MS = 10**15


@pytest.fixture
async def alice(administered: Hospital, tenant_dsn: str) -> Person:
    connection = await connect(tenant_dsn)
    await connection.execute("TRUNCATE media, quarantined_media")
    await connection.close()
    return await administered.person()


def uploads_of(person: Person, api: str = ADMIN) -> str:
    return f"{api}/users/{quote(person.user_id)}/media"


def id_of(file: str) -> str:
    return file.partition("/")[2]


async def statuses(person: Person, *files: str) -> list[int]:
    return [(await download(person, file)).status for file in files]


async def age(tenant_dsn: str, *files: str) -> None:
    """Have nobody looked at these files since 1970, the first for longest."""
    connection = await connect(tenant_dsn)
    for number, file in enumerate(files):
        await connection.execute("UPDATE media SET last_access_ts = $2 WHERE media_id = $1", id_of(file), number)
    await connection.close()


async def add_copy(tenant_dsn: str, media_id: str) -> None:
    connection = await connect(tenant_dsn)
    await connection.execute(
        "INSERT INTO media "
        "(server_name, media_id, object_name, details, size_bytes, fingerprint, created_ts, last_access_ts) "
        "VALUES ('other.example', $1, 'ab/' || $1, '', 7, '', 1, 1)",
        media_id,
    )
    await connection.close()


async def test_uploads_of_a_user_are_listed(admin: Person, alice: Person, audit_rows: AuditRows) -> None:
    files = [await uploaded(alice, b"x" * size, content_type="image/png", filename=f"{size}.png") for size in (1, 2, 3)]
    await admin.put(f"{ADMIN}/media/{files[0]}/quarantine", {})
    await audit_rows.news()
    page = await admin.get(uploads_of(alice), limit=2)
    assert [medium["media_id"] for medium in page["media"]] == [id_of(file) for file in files[:0:-1]]
    assert (page["total"], page["next_batch"]) == (3, 2)
    (last,) = (await admin.get(uploads_of(alice), limit=2, from_=2))["media"]
    assert last == {
        "server_name": SERVER,
        "media_id": id_of(files[0]),
        "user_id": alice.user_id,
        "content_type": "image/png",
        "file_name": "1.png",
        "size_bytes": 1,
        "created_ts": last["created_ts"],
        "last_access_ts": last["created_ts"],
        "is_quarantined": True,
    }
    assert await audit_rows.news() == [(admin.user_id, "media.list_of_user", alice.user_id)] * 2


async def test_a_file_is_deleted(admin: Person, alice: Person, audit_rows: AuditRows) -> None:
    file, other = await uploaded(alice, image(), content_type="image/jpeg"), await uploaded(alice, b"other")
    await alice.request("GET", f"/_matrix/client/v1/media/thumbnail/{other}", width=32, height=32)
    got = await download(alice, f"{file}?width=32&height=32", place="/_matrix/client/v1/media/thumbnail")
    assert got.status == 200
    name = file.replace(SERVER, SERVER.upper())
    assert await admin.expect(200, "DELETE", f"{ADMIN}/media/{name}") == {}
    assert await statuses(alice, file, other) == [404, 200]
    await alice.refused(404, "M_NOT_FOUND", "GET", f"/_matrix/client/v1/media/thumbnail/{file}", width=32, height=32)
    await admin.refused(404, "M_NOT_FOUND", "DELETE", f"{ADMIN}/media/{file}")
    assert await audit_rows.news() == [(admin.user_id, "media.delete", f"mxc://{file}")]


async def test_its_bytes_are_to_go_at_once(admin: Person, alice: Person, tenant_dsn: str) -> None:
    file = await uploaded(alice, b"content")
    connection = await connect(tenant_dsn)
    name = await connection.fetchval("SELECT object_name FROM media WHERE media_id = $1", id_of(file))
    await admin.expect(200, "DELETE", f"{ADMIN}/media/{file}")
    due = "SELECT due_ts FROM media_leftovers WHERE object_name = $1 AND is_doomed"
    assert await connection.fetchval(due, name) <= time.time() * 1000
    await connection.close()


async def test_what_was_withdrawn_stays_so_when_it_is_deleted(admin: Person, alice: Person) -> None:
    file = await uploaded(alice, b"bad")
    await admin.put(f"{ADMIN}/media/{file}/quarantine", {})
    await admin.expect(200, "DELETE", f"{ADMIN}/media/{file}")
    assert await statuses(alice, await uploaded(alice, b"bad")) == [404]


async def test_all_that_a_user_has_uploaded_is_deleted(
    administered: Hospital, admin: Person, alice: Person, audit_rows: AuditRows
) -> None:
    bob = await administered.person()
    await audit_rows.news()
    files, other = [await uploaded(alice, b"x") for _ in range(3)], await uploaded(bob, b"x")
    assert await admin.expect(200, "DELETE", uploads_of(alice)) == {"deleted": 3, "has_more": False}
    assert await statuses(bob, *files, other) == [404, 404, 404, 200]
    assert await admin.expect(200, "DELETE", uploads_of(alice)) == {"deleted": 0, "has_more": False}
    assert await audit_rows.news() == [(admin.user_id, "media.delete_of_user", alice.user_id)] * 2


async def test_old_uploads_are_deleted_but_for_avatars(
    admin: Person, alice: Person, tenant_dsn: str, audit_rows: AuditRows
) -> None:
    avatar, small, large, new = [await uploaded(alice, b"x" * size) for size in (9, 1, 5, 5)]
    await alice.put(f"profile/{quote(alice.user_id)}/avatar_url", {"avatar_url": f"mxc://{avatar}"})
    await add_copy(tenant_dsn, "copy1")
    await age(tenant_dsn, avatar, small, large)
    old = {"of": "uploads", "before_ts": 1_000}
    answer = await admin.post(f"{ADMIN}/media/delete_old", {**old, "size_bytes_min": 5})
    assert answer == {"deleted": 1, "has_more": False}
    await admin.post(f"{ADMIN}/media/delete_old", old)
    await age(tenant_dsn, avatar)
    assert await audit_rows.news() == [(admin.user_id, "media.delete_old_uploads", "before_ts=1000")] * 2
    assert await statuses(alice, avatar, small, large, new) == [200, 404, 404, 200]
    await age(tenant_dsn, avatar)
    answer = await admin.post(f"{ADMIN}/media/delete_old", {**old, "with_avatars": True})
    assert answer == {"deleted": 1, "has_more": False}
    assert await statuses(alice, avatar, new) == [404, 200]


async def test_a_time_to_come_is_now(admin: Person, alice: Person) -> None:
    avatar = await uploaded(alice, b"avatar")
    await alice.put(f"profile/{quote(alice.user_id)}/avatar_url", {"avatar_url": f"mxc://{avatar}"})
    await admin.post(f"{ADMIN}/media/delete_old", {"of": "uploads", "before_ts": 2**63 - 1})
    known = await admin.get(f"{ADMIN}/media/{avatar}")
    assert known["medium"]["last_access_ts"] <= time.time() * 1000


async def test_old_copies_are_deleted(admin: Person, alice: Person, tenant_dsn: str, audit_rows: AuditRows) -> None:
    own = await uploaded(alice, b"own")
    for media_id in ("copy1", "copy2"):
        await add_copy(tenant_dsn, media_id)
    answer = await admin.post(f"{ADMIN}/media/delete_old", {"of": "copies", "before_ts": LATER_MS})
    assert answer == {"deleted": 2, "has_more": False}
    assert await statuses(alice, own) == [200]
    assert await audit_rows.news() == [(admin.user_id, "media.delete_old_copies", f"before_ts={LATER_MS}")]


async def test_so_many_are_deleted_at_once(
    admin: Person, alice: Person, monkeypatch: pytest.MonkeyPatch, tenant_dsn: str
) -> None:
    monkeypatch.setattr("tim_server.services.media.delete.MEDIA_PER_STEP", 2)
    monkeypatch.setattr("tim_server.services.media.delete.DELETED_PER_CALL_MAX", 3)
    for number in range(5):
        await uploaded(alice, b"x" * number)
    path = f"{SYNAPSE}/users/{quote(alice.user_id)}/media"
    assert (await admin.expect(200, "DELETE", path, limit=1_000))["total"] == 3
    assert (await admin.expect(200, "DELETE", path, limit=1))["total"] == 1
    assert (await admin.get(uploads_of(alice)))["total"] == 1


async def test_existing_tools_list_and_delete(admin: Person, alice: Person, tenant_dsn: str) -> None:
    files = [await uploaded(alice, b"x" * size, content_type="image/png", filename="a.png") for size in (1, 2, 3, 4)]
    await admin.put(f"{ADMIN}/media/{files[0]}/quarantine", {})
    page: dict[str, Any] = await admin.get(uploads_of(alice, SYNAPSE), limit=1, dir="f")
    (first,) = page["media"]
    assert (page["total"], page["next_token"]) == (4, 1)
    assert first == {
        "media_id": id_of(files[0]),
        "media_type": "image/png",
        "media_length": 1,
        "upload_name": "a.png",
        "created_ts": first["created_ts"],
        "last_access_ts": first["created_ts"],
        "quarantined_by": "an administrator",
        "safe_from_quarantine": False,
        "user_id": alice.user_id,
    }
    page = await admin.get(uploads_of(alice, SYNAPSE), from_=1, dir="f")
    assert [medium["quarantined_by"] for medium in page["media"]] == [None] * 3 and "next_token" not in page
    answer = await admin.expect(200, "DELETE", f"{SYNAPSE}/media/{files[0]}")
    assert answer == {"deleted_media": [id_of(files[0])], "total": 1}
    await age(tenant_dsn, *files[1:3])
    answer = await admin.post(f"{SYNAPSE}/media/delete", before_ts=1_000, size_gt=2)
    assert answer == {"deleted_media": [id_of(files[2])], "total": 1}
    await add_copy(tenant_dsn, "copy3")
    assert await admin.post(f"{SYNAPSE}/purge_media_cache", before_ts=1_000) == {"deleted": 1}
    answer = await admin.expect(200, "DELETE", uploads_of(alice, SYNAPSE))
    assert answer == {"deleted_media": [id_of(files[1]), id_of(files[3])], "total": 2}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"{ADMIN}/users/@alice:{SERVER}/media", None),
        ("DELETE", f"{ADMIN}/users/@alice:{SERVER}/media", None),
        ("DELETE", f"{ADMIN}/media/{SERVER}/abc", None),
        ("POST", f"{ADMIN}/media/delete_old", {"of": "copies", "before_ts": 1}),
        ("GET", f"{SYNAPSE}/users/@alice:{SERVER}/media", None),
        ("DELETE", f"{SYNAPSE}/users/@alice:{SERVER}/media", None),
        ("DELETE", f"{SYNAPSE}/media/{SERVER}/abc", None),
        ("POST", f"{SYNAPSE}/media/delete?before_ts=1", None),
        ("POST", f"{SYNAPSE}/purge_media_cache?before_ts=1", None),
    ],
)
async def test_only_administrators_may(
    alice: Person, tenant_dsn: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    async with open_tables(tenant_dsn) as tables, tables.unchanged():
        await alice.refused(403, "M_FORBIDDEN", method, path, body)


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"of": "all", "before_ts": 1}, "M_INVALID_PARAM"),
        ({"of": "copies", "before_ts": -1}, "M_INVALID_PARAM"),
        ({"of": "copies", "before_ts": 2**63}, "M_INVALID_PARAM"),
        ({"of": "copies", "before_ts": "soon"}, "M_BAD_JSON"),
    ],
    ids=range(5),
)
async def test_requests_of_the_wrong_form(admin: Person, body: dict[str, Any], errcode: str) -> None:
    await admin.refused(400, errcode, "POST", f"{ADMIN}/media/delete_old", body)
