"""Hospitals and a peer that have files of each other."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.conftest import Neighbourhood
from tests.federation_api.remote_files import run_neighbourhood
from tests.peer import Peer
from tests.people import Person


@pytest.fixture(scope="module")
async def neighbourhood(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Neighbourhood]:
    async with run_neighbourhood(make_tenant_dsn, tmp_path_factory.mktemp("neighbourhood")) as neighbourhood:
        yield neighbourhood


@pytest.fixture(scope="module")
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


@pytest.fixture(scope="module")
async def bob(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.b.person()


@pytest.fixture
def peer(neighbourhood: Neighbourhood) -> Peer:
    neighbourhood.peer.answers.clear()
    neighbourhood.peer.requests.clear()
    return neighbourhood.peer
