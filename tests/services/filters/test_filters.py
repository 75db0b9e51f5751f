"""Filters: kept as given, found by id.

Spec: https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

import asyncio
from typing import Any

import pytest

from tests.account_services import AccountServices, Policies
from tim_server.matrix.errors import Forbidden, MatrixError, NotFound, TooLarge
from tim_server.services.accounts.requester import Requester
from tim_server.services.filters.define import FilterPolicy
from tim_server.services.sync.choose_filter import FilterChoice
from tim_server.storage.store import Store


async def define(services: AccountServices, requester: Requester, definition: dict[str, Any]) -> str:
    filter_id: str = await services.filters.define(requester, requester.user_id, definition)
    return filter_id


async def test_a_definition_is_given_back_unchanged(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("anna")
    definition = {"room": {"timeline": {"limit": 10, "org.example.x": [1]}}, "event_fields": ["type"], "later": None}
    filter_id = await define(account_services, requester, definition)
    assert not filter_id.startswith("{")
    stored = await account_services.filters.definition(requester, requester.user_id, filter_id)
    assert stored == b'{"room":{"timeline":{"limit":10,"org.example.x":[1]}},"event_fields":["type"],"later":null}'
    found, length = await account_services.filters.find(requester.user_id, filter_id)
    assert length == len(stored)
    assert found.room.timeline.events.limit == 10


async def test_long_definitions_do_not_stay_in_memory(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("lara")
    choice = FilterChoice(filters=account_services.filters)
    long = await define(account_services, requester, {"room": {"rooms": [f"!{n:0>9}:a.example" for n in range(2000)]}})
    short = await define(account_services, requester, {"room": {"rooms": ["!ward:a.example"]}})
    for filter_id in (long, short):
        found = await choice.find(requester.user_id, filter_id)
        assert found.room.rooms
    assert list(choice._remembered) == [(requester.user_id, short)]


async def test_equal_definitions_have_one_id(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("bernd")
    first, second, other = [
        await define(account_services, requester, {"room": {"timeline": {"limit": limit}}}) for limit in (1, 1, 2)
    ]
    assert first == second != other


async def test_requests_at_once_get_ids_of_their_own(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("carla")
    definitions = [{"room": {"timeline": {"limit": limit}}} for limit in (1, 2, 3, 1)]
    ids = await asyncio.gather(*(define(account_services, requester, definition) for definition in definitions))
    assert len(set(ids)) == 3
    assert ids[0] == ids[3]


@pytest.mark.parametrize("filter_id", ["999", "x", "", "-1", "1" * 30, "{}", "①"])
async def test_an_unknown_id_is_not_found(account_services: AccountServices, filter_id: str) -> None:
    requester = Requester(user_id=(await account_services.make_user(None)).user_id, device_id=None, token_id=0)
    with pytest.raises(NotFound):
        await account_services.filters.definition(requester, requester.user_id, filter_id)


async def test_a_definition_that_is_not_valid_is_refused(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("doris")
    for definition in ({"room": 1}, {"room": {"timeline": {"types": "m.room.message"}}}, {"event_format": "pdf"}):
        with pytest.raises(MatrixError) as caught:
            await define(account_services, requester, definition)
        assert caught.value.status == 400


async def test_others_neither_define_nor_read(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("emil")
    other = await account_services.make_requester("emma")
    filter_id = await define(account_services, other, {})
    with pytest.raises(Forbidden):
        await account_services.filters.define(requester, other.user_id, {})
    with pytest.raises(Forbidden):
        await account_services.filters.definition(requester, other.user_id, filter_id)


async def test_the_oldest_filter_makes_room_and_large_ones_are_refused(store: Store) -> None:
    services = AccountServices(store, Policies(filters=FilterPolicy(per_user_max=2, definition_bytes_max=100)))
    requester = await services.make_requester("frieda")
    ids = [await define(services, requester, {"event_fields": [str(number)]}) for number in range(3)]
    with pytest.raises(NotFound):
        await services.filters.definition(requester, requester.user_id, ids[0])
    assert await services.filters.definition(requester, requester.user_id, ids[2])
    with pytest.raises(TooLarge):
        await define(services, requester, {"event_fields": ["x" * 100]})
