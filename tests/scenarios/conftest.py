"""What scenarios share."""

import itertools
from collections.abc import AsyncIterator

import pytest

from tests.scenarios.two_tenants import Tenant, run_two_tenants
from tests.scenarios.ward import Ward, run_ward
from tim_server.storage.embedded import EmbeddedPostgres

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def two_tenants(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Tenant, Tenant]]:
    """Two homeservers in one process, over real HTTP, on one PostgreSQL."""
    number = next(_numbers)
    roles = [f"north_{number}", f"south_{number}"]
    dsns = [await postgres.provision_tenant(role) for role in roles]
    async with run_two_tenants(dsns, tmp_path_factory.mktemp("two-tenants")) as tenants:
        yield tenants
    for role in roles:
        await postgres.drop_tenant(role)


@pytest.fixture(params=["from north to south", "from south to north"])
def mine_and_theirs(request: pytest.FixtureRequest, two_tenants: tuple[Tenant, Tenant]) -> tuple[Tenant, Tenant]:
    """The tenant whose user or role tries something, and the one that it is tried on."""
    north, south = two_tenants
    return (north, south) if request.param == "from north to south" else (south, north)


@pytest.fixture(scope="module")
async def ward(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ward]:
    """A homeserver with rooms, and people in every relation to them."""
    async with run_ward(tenant_dsn, tmp_path_factory.mktemp("ward")) as ward:
        yield ward
