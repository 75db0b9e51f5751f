"""Files that administrators withdraw: nobody is given them, until they are released. Each act is audited."""

import secrets
from typing import Any
from urllib.parse import quote

import pytest

from tests.admin_api.conftest import AuditRows
from tests.files import announced, download, upload, uploaded
from tests.images import image
from tests.people import SERVER, Hospital, Person
from tests.table_dump import open_tables

MEDIA = "/_tim-server/admin/v1/media"
QUARANTINED = "/_tim-server/admin/v1/quarantined_media"
SYNAPSE = "/_synapse/admin/v1"


@pytest.fixture
async def alice(administered: Hospital) -> Person:
    return await administered.person()


def content() -> bytes:
    return secrets.token_bytes(1_000)


async def statuses(person: Person, *files: str) -> list[int]:
    return [(await download(person, file)).status for file in files]


async def test_what_is_withdrawn_is_given_to_nobody(admin: Person, alice: Person, audit_rows: AuditRows) -> None:
    file, other = await uploaded(alice, content()), await uploaded(alice, content())
    assert await admin.put(f"{MEDIA}/{file}/quarantine", {}) == {}
    for person in (alice, admin):
        got = await download(person, file)
        assert (got.status, b"M_NOT_FOUND" in got.body) == (404, True)
        assert await statuses(person, f"{file}/name", other) == [404, 200]
    assert await admin.expect(200, "DELETE", f"{MEDIA}/{file}/quarantine") == {}
    assert await statuses(alice, file, other) == [200, 200]
    assert await audit_rows.news() == [
        (admin.user_id, "media.quarantine", f"mxc://{file}"),
        (admin.user_id, "media.release", f"mxc://{file}"),
    ]


async def test_it_has_no_thumbnails_either(admin: Person, alice: Person) -> None:
    file = await uploaded(alice, image(), content_type="image/jpeg")
    path = f"/_matrix/client/v1/media/thumbnail/{file}"
    assert (
        await download(alice, f"{file}?width=32&height=32", place="/_matrix/client/v1/media/thumbnail")
    ).status == 200
    await admin.put(f"{MEDIA}/{file}/quarantine", {})
    await alice.refused(404, "M_NOT_FOUND", "GET", path, width=32, height=32)


async def test_all_files_of_the_same_bytes_are_meant(admin: Person, alice: Person) -> None:
    same = content()
    first, second = await uploaded(alice, same), await uploaded(admin, same)
    await admin.put(f"{MEDIA}/{first}/quarantine", {})
    third = await uploaded(alice, same, content_type="image/png")
    assert await statuses(alice, first, second, third) == [404, 404, 404]
    assert (await admin.get(f"{MEDIA}/{third}"))["quarantine"]["decided_by"] == admin.user_id
    await admin.expect(200, "DELETE", f"{MEDIA}/{third}/quarantine")
    assert await statuses(alice, first, second, third) == [200, 200, 200]


async def test_an_empty_file_is_like_no_other(admin: Person, alice: Person) -> None:
    first, second = await uploaded(alice, b""), await uploaded(alice, b"")
    await admin.put(f"{MEDIA}/{first}/quarantine", {})
    assert await statuses(alice, first, second) == [404, 200]


async def test_all_that_a_user_has_uploaded_is_withdrawn(
    administered: Hospital, admin: Person, alice: Person, audit_rows: AuditRows
) -> None:
    bob = await administered.person()
    files, others = [await uploaded(alice, content()) for _ in range(3)], [await uploaded(bob, content())]
    await admin.put(f"{MEDIA}/{files[0]}/quarantine", {})
    await audit_rows.news()
    path = f"/_tim-server/admin/v1/users/{quote(alice.user_id)}/media/quarantine"
    assert await admin.put(path, {}) == {"quarantined": 2}
    assert await statuses(bob, *files, *others) == [404, 404, 404, 200]
    assert await audit_rows.news() == [(admin.user_id, "media.quarantine_of_user", alice.user_id)]
    later = await uploaded(alice, content())
    assert await statuses(bob, later) == [200]


async def test_what_is_known_of_a_file_is_shown(admin: Person, alice: Person, audit_rows: AuditRows) -> None:
    file = await uploaded(alice, b"12345", content_type="image/png", filename="photo.png")
    known = await admin.get(f"{MEDIA}/{file}")
    medium = known["medium"]
    assert known == {
        "medium": {
            "server_name": SERVER,
            "media_id": file.partition("/")[2],
            "user_id": alice.user_id,
            "content_type": "image/png",
            "file_name": "photo.png",
            "size_bytes": 5,
            "created_ts": medium["created_ts"],
            "last_access_ts": medium["created_ts"],
            "is_quarantined": False,
        },
        "quarantine": None,
    }
    assert await audit_rows.news() == [(admin.user_id, "media.read", f"mxc://{file}")]
    await admin.put(f"{MEDIA}/{file}/quarantine", {})
    quarantine = (await admin.get(f"{MEDIA}/{file}"))["quarantine"]
    assert quarantine == {
        "server_name": SERVER,
        "media_id": file.partition("/")[2],
        "cause": "administrator",
        "decided_by": admin.user_id,
        "created_ts": quarantine["created_ts"],
    }


async def test_what_is_withdrawn_is_listed_newest_first(admin: Person, alice: Person, audit_rows: AuditRows) -> None:
    files = [await uploaded(alice, content()) for _ in range(3)]
    for file in files:
        await admin.put(f"{MEDIA}/{file}/quarantine", {})
    await audit_rows.news()
    found: list[str] = []
    page: dict[str, Any] = {"next_batch": None}
    while "next_batch" in page and len(found) < 3:
        page = await admin.get(QUARANTINED, limit=2, from_=page["next_batch"])
        found += [f"{each['server_name']}/{each['media_id']}" for each in page["quarantined"]]
    assert found[:3] == files[::-1]
    assert await audit_rows.news() == [(admin.user_id, "media.list_quarantined", "quarantined media")] * 2


async def test_a_file_of_another_server_is_withdrawn_before_it_is_fetched(admin: Person, alice: Person) -> None:
    await admin.put(f"{MEDIA}/other.example/abc/quarantine", {})
    for name in ("other.example", "OTHER.example"):
        await admin.refused(404, "M_NOT_FOUND", "GET", f"/_matrix/client/v1/media/download/{name}/abc")
        known = await admin.get(f"{MEDIA}/{name}/abc")
        assert (known["medium"], known["quarantine"]["server_name"]) == (None, "other.example")
    await admin.expect(200, "DELETE", f"{MEDIA}/Other.example/abc/quarantine")
    await admin.refused(404, "M_NOT_FOUND", "GET", f"{MEDIA}/other.example/abc")


async def test_the_name_of_this_server_may_be_written_otherwise(admin: Person, alice: Person) -> None:
    file = await uploaded(alice, content())
    await admin.put(f"{MEDIA}/{file.replace(SERVER, SERVER.upper())}/quarantine", {})
    assert await statuses(alice, file, file.replace(SERVER, SERVER.upper())) == [404, 404]


async def test_what_is_not_there_can_not_be_withdrawn_or_released(admin: Person, alice: Person) -> None:
    file, waiting = await uploaded(alice, content()), await announced(alice)
    for name in (f"{SERVER}/unknown", waiting):
        await admin.refused(404, "M_NOT_FOUND", "PUT", f"{MEDIA}/{name}/quarantine", {})
        await admin.refused(404, "M_NOT_FOUND", "GET", f"{MEDIA}/{name}")
    await admin.refused(404, "M_NOT_FOUND", "DELETE", f"{MEDIA}/{file}/quarantine")
    assert (await upload(alice, b"x", place=waiting))[0] == 200


async def test_existing_tools_withdraw_and_release(administered: Hospital, admin: Person, alice: Person) -> None:
    files = [await uploaded(alice, content()) for _ in range(2)]
    assert await admin.post(f"{SYNAPSE}/media/quarantine/{files[0]}") == {}
    assert await statuses(alice, *files) == [404, 200]
    assert await admin.post(f"{SYNAPSE}/user/{quote(alice.user_id)}/media/quarantine") == {"num_quarantined": 1}
    assert await statuses(alice, *files) == [404, 404]
    assert await admin.post(f"{SYNAPSE}/media/unquarantine/{files[0]}") == {}
    assert await statuses(alice, *files) == [200, 404]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", QUARANTINED),
        ("GET", f"{MEDIA}/{SERVER}/abc"),
        ("PUT", f"{MEDIA}/{SERVER}/abc/quarantine"),
        ("DELETE", f"{MEDIA}/{SERVER}/abc/quarantine"),
        ("PUT", f"/_tim-server/admin/v1/users/@alice:{SERVER}/media/quarantine"),
        ("POST", f"{SYNAPSE}/media/quarantine/{SERVER}/abc"),
        ("POST", f"{SYNAPSE}/media/unquarantine/{SERVER}/abc"),
        ("POST", f"{SYNAPSE}/user/@alice:{SERVER}/media/quarantine"),
    ],
)
async def test_only_administrators_may(alice: Person, tenant_dsn: str, method: str, path: str) -> None:
    async with open_tables(tenant_dsn) as tables, tables.unchanged():
        await alice.refused(403, "M_FORBIDDEN", method, path, {})


@pytest.mark.parametrize("name", ["not%20a%20server/abc", f"{SERVER}/not%20an%20id", f"{SERVER}/%F0%9F%98%80"])
async def test_names_of_the_wrong_form(admin: Person, name: str) -> None:
    status, answer = await admin.request("PUT", f"{MEDIA}/{name}/quarantine", {})
    assert (status, answer["errcode"]) in {(400, "M_INVALID_PARAM"), (404, "M_NOT_FOUND")}
