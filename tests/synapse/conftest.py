"""A Synapse and a hospital of ours that federate: the names are localhost with a port, so that Synapse needs no DNS."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import aiohttp
import pytest

from tests.circle import Circle
from tests.hospitals import Network, NetworkedHospital, run_networked
from tests.people import Hospital
from tests.ports import free_ports
from tests.synapse.synapse_server import SynapseServer, run_synapse
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.storage.migrations import Migration, migrate


@dataclass
class Pair:
    """Our hospital, and the clinic that runs Synapse."""

    ours: NetworkedHospital
    theirs: Hospital
    synapse: SynapseServer
    network: Network


@pytest.fixture(scope="module")
async def pair(
    postgres: EmbeddedPostgres, migrations: tuple[Migration, ...], open_tmp_path: Path
) -> AsyncIterator[Pair]:
    """Both servers, fresh for each test module."""
    if find_spec("synapse") is None:
        pytest.skip("needs Synapse: pip install -e '.[external]'")
    folder = Path(tempfile.mkdtemp(prefix="synapse-", dir=open_tmp_path))
    ports = free_ports(2)
    network = Network(Circle(folder / "circle"), {f"localhost:{port}": port for port in ports})
    our_name, their_name = network.ports
    role = f"synapse_peer_{ports[0]}"
    dsn = await postgres.provision_tenant(role)
    await migrate(dsn, migrations=migrations)
    with run_synapse(network, their_name, folder / "synapse") as synapse:
        async with (
            run_networked(network, our_name, dsn, folder / "ours", presence={"enabled": True}) as ours,
            aiohttp.ClientSession(synapse.base_url) as session,
        ):
            yield Pair(ours=ours, theirs=Hospital(session), synapse=synapse, network=network)
    await postgres.drop_tenant(role)
