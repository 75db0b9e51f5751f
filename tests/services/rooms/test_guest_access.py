"""Guests leave the rooms that no longer let them in, whatever process died meanwhile."""

from tests.services.rooms.conftest import ALICE, SERVER, Rooms
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.rooms.guest_access import GUEST_ACCESS, GuestRemoval
from tim_server.storage.memberships import load_joined_guests
from tim_server.storage.store import Store
from tim_server.storage.users import User, insert_user

GUEST = UserId(f"@guest:{SERVER}")


async def room_with_guest(rooms: Rooms) -> RoomId:
    """A public room that never let guests in, with one in it."""
    async with rooms.store.database.transaction() as tx:
        await insert_user(tx, User(user_id=GUEST, password_hash=None, created_ts=0, is_guest=True))
    room_id = await rooms.create()
    await rooms.member(room_id, GUEST, "join")
    return room_id


async def guests_in_rooms(store: Store) -> int:
    async with store.database.read() as tx:
        return len(await load_joined_guests(tx, None))


async def test_what_a_process_that_died_left_undone_is_done_at_the_start(rooms: Rooms, store: Store) -> None:
    await room_with_guest(rooms)
    removal = GuestRemoval(database=store.database, codec=store.codec, queues=rooms.queues)
    assert await guests_in_rooms(store) == 1
    await removal.sweep()
    assert await guests_in_rooms(store) == 0


async def test_later_only_rooms_in_which_guest_access_may_have_changed_are_looked_at(
    rooms: Rooms, store: Store
) -> None:
    removal = GuestRemoval(database=store.database, codec=store.codec, queues=rooms.queues)
    store.commit_log.subscribe(removal.follow)
    await removal.sweep()
    room_id = await room_with_guest(rooms)
    await removal.sweep()
    assert await guests_in_rooms(store) == 1
    await rooms.send(room_id, ALICE, GUEST_ACCESS, state_key="", content={"guest_access": "forbidden"})
    await removal.sweep()
    assert await guests_in_rooms(store) == 0
