"""Steps that tests of sync share."""

from tests.services.rooms.conftest import Rooms
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.storage.account_data import put_account_data
from tim_server.storage.database import Connection
from tim_server.storage.store import Store

CAROL = UserId("@carol:hospital.example")
DAVE = UserId("@dave:hospital.example")


async def room_of(rooms: Rooms, *members: UserId) -> RoomId:
    """A room of Alice's with these members."""
    room_id = await rooms.create()
    for member in members:
        await rooms.member(room_id, member, "join")
    return room_id


async def put(store: Store, user_id: UserId, event_type: str, content: bytes, room_id: str = "") -> None:
    """Set account data as the service does."""

    class Put:
        users = (user_id,)
        streams = ("account_data",)

        async def store(self, tx: Connection, position: int) -> None:
            await put_account_data(
                tx, user_id, room_id=room_id, event_type=event_type, stored=b"\x00" + content, position=position
            )

    await store.writer.write(Put())
