"""The software's version, and who is told of it: servers whose requests are signed as they should be."""

import pytest

from tests.conftest import Neighbourhood
from tim_server.matrix.identifiers import ServerName

VERSION = "/_matrix/federation/v1/version"


async def test_a_server_that_signs_is_told(neighbourhood: Neighbourhood) -> None:
    status, answer = await neighbourhood.peer.ask("a.example", "GET", VERSION)
    assert (status, answer["server"]["name"]) == (200, "tim-server")


async def test_two_hospitals_understand_each_other(neighbourhood: Neighbourhood) -> None:
    federation = neighbourhood.a.process.homeservers[0].federation
    answer = await federation.client.get(ServerName(neighbourhood.b.name), VERSION)
    assert answer["server"]["name"] == "tim-server"


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"Authorization": "Bearer token"}},
        {"headers": {"Authorization": 'X-Matrix origin="peer.example"'}},
        {"destination": "b.example"},
        {"origin": "a.example"},
        {"origin": "b.example"},
        {"key_id": "ed25519:other"},
        {"headers": {"Authorization": 'X-Matrix origin="peer.example",key="ed25519:peer",sig="AAAA"'}},
    ],
)
async def test_a_request_that_is_not_signed_as_it_should_be_is_refused(neighbourhood: Neighbourhood, changes) -> None:
    status, answer = await neighbourhood.peer.ask("a.example", "GET", VERSION, **changes)
    assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")


async def test_where_all_may_be_talked_to_anybody_is_told(neighbourhood: Neighbourhood) -> None:
    async with neighbourhood.a.session.get(VERSION) as response:
        assert (response.status, (await response.json())["server"]["name"]) == (200, "tim-server")


async def test_a_request_without_a_signature_is_refused(neighbourhood: Neighbourhood) -> None:
    profile = "/_matrix/federation/v1/query/profile?user_id=@x:a.example"
    async with neighbourhood.a.session.get(profile) as response:
        assert (response.status, (await response.json())["errcode"]) == (401, "M_UNAUTHORIZED")
    status, answer = await neighbourhood.peer.ask("a.example", "GET", VERSION, headers={"Authorization": ""})
    assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")
