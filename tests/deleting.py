"""Administrators who delete rooms in tests."""

from typing import Any
from urllib.parse import quote

from tests.eventually import eventually
from tests.people import Hospital, Person
from tim_server.storage.connect import connect

ADMIN = "/_tim-server/admin/v1"
SYNAPSE = "/_synapse/admin"


async def administrator(hospital: Hospital, dsn: str) -> Person:
    """Somebody new who is made an administrator in the database, before anybody has looked who they are."""
    person = await hospital.person()
    connection = await connect(dsn)
    await connection.execute("UPDATE users SET is_admin = true WHERE user_id = $1", person.user_id)
    await connection.close()
    return person


def room_path(room_id: str, rest: str = "", *, api: str = ADMIN) -> str:
    return f"{api}/rooms/{quote(room_id)}{rest}"


async def begin(admin: Person, room_id: str, **wishes: Any) -> str:
    """Have a room deleted; the id of the deletion."""
    return str((await admin.expect(200, "DELETE", room_path(room_id), wishes))["delete_id"])


async def completed(admin: Person, delete_id: str) -> Any:
    """The deletion, once it has ended."""

    async def look() -> Any:
        return await admin.get(f"{ADMIN}/room_deletions/{delete_id}")

    return await eventually(look, lambda seen: seen["status"] == "complete")


async def deleted(admin: Person, room_id: str, **wishes: Any) -> Any:
    """Have a room deleted, and wait until that is done."""
    return await completed(admin, await begin(admin, room_id, **wishes))
