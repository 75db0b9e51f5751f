"""Account data: kept as given, read by its owner, delivered by position.

Spec: https://spec.matrix.org/v1.19/client-server-api/#client-config
"""

from typing import Any

import pytest

from tests.account_services import AccountServices, Policies
from tim_server.matrix.errors import Forbidden, InvalidParam, NotFound, ServerManagedAccountData, TooLarge
from tim_server.matrix.identifiers import RoomId
from tim_server.services.account_data.keep import AccountDataPolicy
from tim_server.services.accounts.requester import Requester
from tim_server.storage.account_data import (
    read_all_account_data,
    read_changed_account_data,
    read_room_account_data,
)
from tim_server.storage.codec import Codec, SealingKey
from tim_server.storage.store import Store

ROOM = RoomId("!ward:hospital.example")


async def put(
    services: AccountServices, requester: Requester, event_type: str, content: Any, room_id: RoomId | None = None
) -> None:
    await services.account_data.put(requester, requester.user_id, event_type, content, room_id)


async def test_an_entry_is_given_back_as_it_was_set(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("anna")
    content = {"z": 1, "a": [1.5, None, "ü\x00"], "big": 2**53}
    await put(account_services, requester, "org.example.x", content)
    stored = await account_services.account_data.read(requester, requester.user_id, "org.example.x", None)
    assert stored == '{"z":1,"a":[1.5,null,"ü\\u0000"],"big":9007199254740992}'.encode()


async def test_rooms_do_not_inherit_what_is_global(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("bernd")
    await put(account_services, requester, "org.example.x", {"global": True})
    with pytest.raises(NotFound):
        await account_services.account_data.read(requester, requester.user_id, "org.example.x", ROOM)
    await put(account_services, requester, "org.example.x", {"global": False}, ROOM)
    for room_id, content in ((None, b'{"global":true}'), (ROOM, b'{"global":false}')):
        read = account_services.account_data.read(requester, requester.user_id, "org.example.x", room_id)
        assert await read == content


@pytest.mark.parametrize("room_id", [None, ROOM])
@pytest.mark.parametrize("event_type", ["m.fully_read", "m.push_rules"])
async def test_types_that_the_server_manages_are_refused_with_405(
    account_services: AccountServices, event_type: str, room_id: RoomId | None
) -> None:
    requester = await account_services.make_requester(f"c.{event_type}.{room_id is None}")
    with pytest.raises(ServerManagedAccountData) as caught:
        await put(account_services, requester, event_type, {}, room_id)
    assert (caught.value.status, caught.value.errcode) == (405, "M_BAD_JSON")
    await account_services.account_data.store(requester.user_id, event_type, b'{"by":"the server"}', room_id)
    read = await account_services.account_data.read(requester, requester.user_id, event_type, room_id)
    is_made = event_type == "m.push_rules" and room_id is None  # of the rules, which have a table of their own
    assert read.startswith(b'{"global":') if is_made else read == b'{"by":"the server"}'


async def test_others_neither_set_nor_read(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("doris")
    other = await account_services.make_requester("dora")
    with pytest.raises(Forbidden):
        await account_services.account_data.put(requester, other.user_id, "org.example.x", {}, None)
    with pytest.raises(Forbidden):
        await account_services.account_data.read(requester, other.user_id, "org.example.x", None)


async def test_bounds_of_type_content_and_number(store: Store) -> None:
    policy = AccountDataPolicy(content_bytes_max=20, entries_per_user_max=2)
    services = AccountServices(store, Policies(account_data=policy))
    requester = await services.make_requester("emil")
    for event_type in ("", "x" * 256):
        with pytest.raises(InvalidParam):
            await put(services, requester, event_type, {})
    with pytest.raises(TooLarge):
        await put(services, requester, "org.example.a", {"a": "x" * 20})
    await put(services, requester, "org.example.a", {})
    await put(services, requester, "org.example.a", {}, ROOM)
    with pytest.raises(TooLarge):
        await put(services, requester, "org.example.b", {})
    await put(services, requester, "org.example.a", {"again": 1})


async def test_sync_gets_what_was_set_between_two_positions(account_services: AccountServices, store: Store) -> None:
    requester = await account_services.make_requester("frieda")
    positions = [store.commit_log.position]
    for event_type, room_id in (("a", None), ("b", ROOM), ("a", None)):
        await put(account_services, requester, event_type, {"n": len(positions)}, room_id)
        positions.append(store.commit_log.position)

    async def changed(after: int, up_to: int) -> list[tuple[str, str, bytes]]:
        async with store.database.read() as tx:
            entries = await read_changed_account_data(tx, store.codec, requester.user_id, after=after, up_to=up_to)
        return [(entry.room_id, entry.type, entry.content) for entry in entries]

    assert await changed(positions[0], positions[3]) == [(ROOM, "b", b'{"n":2}'), ("", "a", b'{"n":3}')]
    assert await changed(positions[1], positions[2]) == [(ROOM, "b", b'{"n":2}')]
    assert await changed(positions[3], positions[3]) == []
    async with store.database.read() as tx:
        assert len(await read_all_account_data(tx, store.codec, requester.user_id)) == 2
        assert [e.type for e in await read_room_account_data(tx, store.codec, requester.user_id, ROOM)] == ["b"]


async def test_a_change_is_named_in_the_commit_log(account_services: AccountServices, store: Store) -> None:
    requester = await account_services.make_requester("gustav")
    before = store.commit_log.position
    await put(account_services, requester, "org.example.x", {})
    entries = list(store.commit_log.since(before) or ())
    assert [entry.users[requester.user_id] for entry in entries] == [frozenset({"account_data"})]


async def test_content_is_sealed_where_the_tenant_has_a_key(store: Store) -> None:
    services = AccountServices(store)
    requester = await services.make_requester("hanna")
    object.__setattr__(services.account_data, "codec", Codec((SealingKey(key_id=b"key1", key=b"k" * 32),)))
    await put(services, requester, "org.example.x", {"secret": "marker-of-content"})
    read = services.account_data.read(requester, requester.user_id, "org.example.x", None)
    assert await read == b'{"secret":"marker-of-content"}'
    async with store.database.connection() as connection:
        stored = await connection.fetchval("SELECT content FROM account_data WHERE user_id = $1", requester.user_id)
    assert b"marker" not in stored
