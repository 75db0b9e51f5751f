"""Which servers take part in which rooms."""

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.database import Database
from tim_server.storage.memberships import count_joined_by_server
from tim_server.storage.room_servers import (
    count_servers_of_rooms,
    find_rooms_of_server,
    find_rooms_with,
    find_servers,
    find_users_sharing_with,
)

ALICE, BOB, CAROL = UserId("@alice:a.example"), UserId("@bob:b.example:8448"), UserId("@carol:c.example")
PUT = "INSERT INTO memberships (user_id, room_nid, membership, event_nid, position) VALUES ($1, $2, $3, 0, 1)"
B = ServerName("b.example:8448")


async def test_servers_are_those_of_joined_members(database: Database) -> None:
    async with database.transaction() as tx:
        for room_nid, user_id, membership in [
            (1, ALICE, "join"),
            (1, BOB, "join"),
            (2, ALICE, "join"),
            (2, BOB, "invite"),
            (2, CAROL, "join"),
        ]:
            await tx.execute(PUT, user_id, room_nid, membership)
        assert await find_users_sharing_with(tx, B, [ALICE, CAROL]) == {ALICE}
        assert await find_rooms_with(tx, B, [1, 2]) == {1}
        counts = {1: {"a.example": 1, B: 1}, 2: {"a.example": 1, "c.example": 1}, 3: {}}
        assert await count_servers_of_rooms(tx, [1, 2, 3]) == counts
        assert await find_servers(tx, limit=10) == ["a.example", B, "c.example"]
        assert await find_servers(tx, limit=2) == ["a.example", B]
        assert await find_rooms_of_server(tx, B) == [1]
        assert await count_joined_by_server(tx, 1) == {"a.example": 1, B: 1}
