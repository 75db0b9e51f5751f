"""What all tests share: one real PostgreSQL for each pytest process, and a fresh tenant for each test module."""

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from tests.hospitals import Network, NetworkedHospital, run_hospitals
from tests.peer import Peer, run_peer
from tests.people import Hospital, run_hospital
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database, DatabaseOptions
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.storage.migrations import Migration, migrate, read_migrations
from tim_server.storage.store import Store, open_store
from tim_server.storage.writer import Writer

_tenant_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def open_tmp_path() -> Iterator[Path]:
    """A folder that PostgreSQL's unprivileged user can pass through, which pytest's own ones are not for root."""
    folder = Path(tempfile.mkdtemp(prefix="tim-test-"))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def usual_logging() -> Iterator[None]:
    """Commands that a test runs configure logging; the next test finds it as it was."""
    configuration = structlog.get_config()
    yield
    structlog.configure(**configuration)


@pytest.fixture(scope="session")
def postgres(open_tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """The PostgreSQL of this pytest process: real, but it forgets what it should keep when the power fails."""
    with EmbeddedPostgres(open_tmp_path / "postgres", durable=False, max_connections=200) as server:
        yield server


@pytest.fixture(scope="session")
def migrations() -> tuple[Migration, ...]:
    """The migrations of this release."""
    return read_migrations()


@pytest.fixture(scope="module")
async def empty_tenant_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """DSN of a fresh role that owns an empty schema."""
    role = f"tenant_{next(_tenant_numbers)}"
    yield await postgres.provision_tenant(role)
    await postgres.drop_tenant(role)


@pytest.fixture(scope="module")
async def tenant_dsn(postgres: EmbeddedPostgres, migrations: tuple[Migration, ...]) -> AsyncIterator[str]:
    """DSN of a fresh role that owns a migrated schema."""
    role = f"tenant_{next(_tenant_numbers)}"
    dsn = await postgres.provision_tenant(role)
    await migrate(dsn, migrations=migrations)
    yield dsn
    await postgres.drop_tenant(role)


@pytest.fixture(scope="module")
async def store(tenant_dsn: str) -> AsyncIterator[Store]:
    """An opened store on a fresh tenant."""
    store = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    yield store
    await store.close()


@pytest.fixture(scope="module")
def database(store: Store) -> Database:
    """The reads of `store`."""
    return store.database


@pytest.fixture(scope="module")
def writer(store: Store) -> Writer:
    """The writer of `store`."""
    return store.writer


@pytest.fixture(scope="module")
async def hospital(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    """A whole homeserver that runs, for tests in which people talk to each other."""
    async with run_hospital(tenant_dsn, tmp_path_factory.mktemp("hospital")) as hospital:
        yield hospital


@pytest.fixture(scope="module")
async def make_tenant_dsn(
    postgres: EmbeddedPostgres, migrations: tuple[Migration, ...]
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """A function that makes further tenants, each a fresh role that owns a migrated schema."""
    roles: list[str] = []

    async def make() -> str:
        roles.append(f"tenant_{next(_tenant_numbers)}")
        dsn = await postgres.provision_tenant(roles[-1])
        await migrate(dsn, migrations=migrations)
        return dsn

    yield make
    for role in roles:
        await postgres.drop_tenant(role)


@dataclass(repr=False)
class Neighbourhood:
    """Two hospitals that federate, and a foreign homeserver made by hand."""

    network: Network
    a: NetworkedHospital
    b: NetworkedHospital
    peer: Peer


@pytest.fixture(scope="module")
async def neighbourhood(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Neighbourhood]:
    """Hospitals `a.example` and `b.example`, and `peer.example`, which a test plays itself."""
    dsns = [await make_tenant_dsn(), await make_tenant_dsn()]
    folder, others = tmp_path_factory.mktemp("neighbourhood"), ["peer.example", "spare.example"]
    async with (
        run_hospitals(["a.example", "b.example"], dsns, folder, others=others) as (network, (a, b)),
        run_peer(network, "peer.example") as peer,
    ):
        yield Neighbourhood(network, a, b, peer)
