"""Files that only events of a deleted room referred to go with it; whatever else refers to one keeps it."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.admin_api.conftest import AuditRows
from tests.deleting import begin, completed, deleted
from tests.files import download, uploaded
from tests.images import image
from tests.people import SERVER, Hospital, Person
from tim_server.storage.connect import connect

THUMBNAIL = "/_matrix/client/v1/media/thumbnail"


@pytest.fixture
async def alice(administered: Hospital) -> Person:
    return await administered.person()


@pytest.fixture
async def connection(tenant_dsn: str) -> AsyncIterator[Any]:
    connection = await connect(tenant_dsn)
    yield connection
    await connection.close()


async def send_file(person: Person, room_id: str, file: str, **info: Any) -> str:
    content = {"msgtype": "m.file", "body": "a file", "url": f"mxc://{file}", "info": info}
    return await person.send(room_id, content)


async def is_there(person: Person, file: str) -> bool:
    return (await download(person, file)).status == 200


async def some_files(person: Person, count: int) -> list[str]:
    return [await uploaded(person, f"file {number} of {person.user_id}".encode()) for number in range(count)]


async def test_files_go_with_the_room_wherever_its_events_name_them(
    admin: Person, alice: Person, audit_rows: AuditRows, connection: Any
) -> None:
    room_id = await alice.create_room()
    photo = await uploaded(alice, image(), content_type="image/jpeg")
    assert (await download(alice, f"{photo}?width=32&height=32", place=THUMBNAIL)).status == 200
    files = [photo, *await some_files(alice, 6)]
    await send_file(alice, room_id, files[0], thumbnail_url=f"mxc://{files[1]}")
    encrypted = {"msgtype": "m.file", "body": "", "file": {"url": f"mxc://{files[2]}"}}
    await alice.send(room_id, encrypted | {"info": {"thumbnail_file": {"url": f"mxc://{files[3]}"}}})
    await alice.set_state(room_id, "m.room.avatar", {"url": f"mxc://{files[4]}"})
    await alice.send(room_id, {"deep": [{"down": f"<img src='mxc://{files[5]}'>"}]}, type="org.example")
    event_id = await send_file(alice, room_id, files[6])
    await alice.put(f"rooms/{room_id}/redact/{event_id}/r", {})
    deletion = await deleted(admin, room_id)
    assert deletion["files_deleted"] == 7
    assert [file for file in files if await is_there(alice, file)] == []
    assert await connection.fetchval("SELECT count(*) FROM thumbnails WHERE media_id = $1", photo.split("/")[1]) == 0
    acts = [action for _, action, object_name in await audit_rows.news() if object_name == room_id]
    assert acts == ["room.delete", "room.delete_files", "room.purged"]


async def test_what_anything_else_refers_to_stays(admin: Person, alice: Person, administered: Hospital) -> None:
    room_id, other = await alice.create_room(), await alice.create_room()
    files = await some_files(alice, 7)
    for file in files:
        await send_file(alice, room_id, file)
    await send_file(alice, other, files[0])
    await alice.set_state(other, "m.room.avatar", {"url": f"mxc://{files[1]}"})
    await alice.put(f"profile/{quote(alice.user_id)}/avatar_url", {"avatar_url": f"mxc://{files[2]}"})
    await alice.put(f"user/{alice.user_id}/account_data/org.example", {"x": [f"mxc://{files[3]}"]})
    await alice.put(f"user/{alice.user_id}/rooms/{other}/account_data/org.example", {"x": f"mxc://{files[4]}"})
    await alice.send(other, {"x": f"mxc://{SERVER.upper()}/{files[5].split('/')[1]}"}, type="org.example")
    deletion = await deleted(admin, room_id)
    assert deletion["files_deleted"] == 1
    assert [await is_there(alice, file) for file in files] == [True] * 6 + [False]
    assert (await deleted(admin, other))["files_deleted"] == 3  # those that nothing else refers to by now
    assert [await is_there(alice, file) for file in files] == [False, False, True, True, True, False, False]


async def test_files_of_two_rooms_that_are_deleted_at_once_go(admin: Person, alice: Person) -> None:
    rooms = [await alice.create_room() for _ in range(3)]
    files = await some_files(alice, 2)
    for room_id in rooms:
        for file in files:
            await send_file(alice, room_id, file)
    for delete_id in [await begin(admin, room_id) for room_id in rooms]:
        await completed(admin, delete_id)
    assert [await is_there(alice, file) for file in files] == [False, False]


async def test_copies_of_files_of_other_servers_go_too(admin: Person, alice: Person, connection: Any) -> None:
    room_id, other = await alice.create_room(), await alice.create_room()
    await connection.execute(
        "INSERT INTO media "
        "(server_name, media_id, object_name, details, size_bytes, fingerprint, created_ts, last_access_ts) "
        "SELECT 'other.example', id, 'ab/' || id, '', 7, '', 1, 1 FROM unnest('{gone,kept}'::text[]) AS id"
    )
    await send_file(alice, room_id, "other.example/gone")
    await send_file(alice, room_id, "other.example/kept")
    await send_file(alice, room_id, "other.example/never-here")
    await send_file(alice, other, "OTHER.example/kept")
    await deleted(admin, room_id)
    left = await connection.fetch("SELECT media_id FROM media WHERE server_name = 'other.example'")
    assert [row["media_id"] for row in left] == ["kept"]


@pytest.mark.parametrize("wishes", [{"keep_files": True}, {"purge": False}], ids=["kept", "not purged"])
async def test_files_stay_where_that_is_wanted(admin: Person, alice: Person, wishes: dict[str, bool]) -> None:
    room_id = await alice.create_room()
    (file,) = await some_files(alice, 1)
    await send_file(alice, room_id, file)
    assert (await deleted(admin, room_id, **wishes))["files_deleted"] == 0
    assert await is_there(alice, file)


async def test_what_is_sent_while_files_are_sought_keeps_them(
    admin: Person, alice: Person, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event comes when the search is past where it stands."""
    from tim_server.services.media import unreferenced

    room_id, other = await alice.create_room(), await alice.create_room()
    (file,) = await some_files(alice, 1)
    await send_file(alice, room_id, file)
    load_page, is_sent = unreferenced.load_page, False

    async def send_at_the_end(tx: Any, source: str, after: Any, **options: Any) -> Any:
        nonlocal is_sent
        if source == "outside" and not is_sent:
            is_sent = True
            await send_file(alice, other, file)
            raise RuntimeError("as if the server had ended")
        return await load_page(tx, source, after, **options)

    monkeypatch.setattr(unreferenced, "load_page", send_at_the_end)
    await deleted(admin, room_id)
    assert is_sent and await is_there(alice, file)
    assert await connection.fetchval("SELECT count(*) FROM media_searches") == 0


async def test_what_is_sent_while_files_are_removed_keeps_those_that_are_left(
    admin: Person, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tim_server.services.media import unreferenced

    room_id, other = await alice.create_room(), await alice.create_room()
    files = await some_files(alice, 2)
    for file in files:
        await send_file(alice, room_id, file)
    take, left = unreferenced.take_unreferenced, list[str]()

    async def take_and_send(tx: Any, *, limit: int) -> Any:
        taken = await take(tx, limit=limit)
        if not left:
            gone = f"{taken[0].server_name}/{taken[0].media_id}"
            left.append(files[1 - files.index(gone)])
            await send_file(alice, other, left[0])
        return taken

    monkeypatch.setattr(unreferenced, "MEDIA_PER_STEP", 1)
    monkeypatch.setattr(unreferenced, "take_unreferenced", take_and_send)
    assert (await deleted(admin, room_id))["files_deleted"] == 1
    assert await is_there(alice, left[0])


async def test_nobody_has_files_of_others_removed(admin: Person, alice: Person, administered: Hospital) -> None:
    """Only an encrypted event refers to the file, which its uploader has sent; who reads that knows the name."""
    mallory = await administered.person()
    (file,) = await some_files(alice, 1)
    room_id = await mallory.create_room()
    await send_file(mallory, room_id, file)
    assert (await deleted(admin, room_id))["files_deleted"] == 0
    assert await is_there(alice, file)


async def test_events_that_wait_for_others_keep_files(admin: Person, alice: Person, connection: Any) -> None:
    room_id, other = await alice.create_room(), await alice.create_room()
    (file,) = await some_files(alice, 1)
    event_id = await send_file(alice, room_id, file)
    await connection.execute(
        "INSERT INTO waiting_pdus (room_nid, event_id, origin, pdu, due_ts) SELECT nid, '$waits', 'b.example', "
        "(SELECT body FROM events WHERE event_id = $2), 9e15 FROM rooms WHERE room_id = $1",
        other,
        event_id,
    )
    assert (await deleted(admin, room_id))["files_deleted"] == 0
    await connection.execute("DELETE FROM waiting_pdus WHERE event_id = '$waits'")
    assert await is_there(alice, file)
