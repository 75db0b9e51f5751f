"""`directory.yaml`, and what `list_public_rooms.yaml` says of one room."""

import secrets

import pytest

from tests.people import SERVER, Hospital


def new_alias() -> tuple[str, str]:
    """An alias that is free, and its form in paths."""
    name = secrets.token_hex(4)
    return f"#{name}:{SERVER}", f"%23{name}:{SERVER}"


async def test_setting_resolving_and_removing(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    alias, path = new_alias()
    await bob.refused(404, "M_NOT_FOUND", "GET", f"directory/room/{path}")
    await alice.put(f"directory/room/{path}", {"room_id": room_id})
    assert await bob.get(f"directory/room/{path}") == {"room_id": room_id, "servers": [SERVER]}
    assert await alice.get(f"rooms/{room_id}/aliases") == {"aliases": [alias]}
    old_path = f"/_matrix/client/unstable/org.matrix.msc2432/rooms/{room_id}/aliases"
    assert await alice.get(old_path) == {"aliases": [alias]}
    await alice.expect(200, "DELETE", f"directory/room/{path}")
    await bob.refused(404, "M_NOT_FOUND", "GET", f"directory/room/{path}")
    await alice.refused(404, "M_NOT_FOUND", "DELETE", f"directory/room/{path}")


async def test_aliases_that_cannot_be_set(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    alias, path = new_alias()
    await bob.refused(403, "M_FORBIDDEN", "PUT", f"directory/room/{path}", {"room_id": room_id})
    await alice.put(f"directory/room/{path}", {"room_id": room_id})
    answer = await alice.expect(409, "PUT", f"directory/room/{path}", {"room_id": room_id})
    assert answer == {"errcode": "M_UNKNOWN", "error": f"Room alias {alias} already exists."}
    await alice.refused(400, "M_INVALID_PARAM", "PUT", "directory/room/%23x:elsewhere.example", {"room_id": room_id})
    await alice.refused(400, "M_INVALID_PARAM", "PUT", "directory/room/no-alias", {"room_id": room_id})
    await alice.refused(400, "M_MISSING_PARAM", "PUT", f"directory/room/{new_alias()[1]}", {})


async def test_who_may_remove_an_alias(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    for person in (bob, carol):
        await person.join(room_id)
    for remover in (bob, alice):  # who made it, and who may set the canonical alias
        _, path = new_alias()
        await bob.put(f"directory/room/{path}", {"room_id": room_id})
        await carol.refused(403, "M_FORBIDDEN", "DELETE", f"directory/room/{path}")
        await remover.expect(200, "DELETE", f"directory/room/{path}")


async def test_who_may_list_aliases(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/aliases")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "world_readable"})
    assert await bob.get(f"rooms/{room_id}/aliases") == {"aliases": []}


async def test_publishing(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    path = f"directory/list/room/{room_id}"
    assert await bob.get(path) == {"visibility": "private"}
    await bob.refused(403, "M_FORBIDDEN", "PUT", path, {"visibility": "public"})
    await alice.put(path, {})
    assert await bob.get(path) == {"visibility": "public"}
    await alice.put(path, {"visibility": "private"})
    assert await bob.get(path) == {"visibility": "private"}


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_publishing_an_unknown_room(hospital: Hospital, method: str) -> None:
    alice = await hospital.person()
    body = {"visibility": "public"} if method == "PUT" else None
    await alice.refused(404, "M_NOT_FOUND", method, f"directory/list/room/!unknown:{SERVER}", body)
