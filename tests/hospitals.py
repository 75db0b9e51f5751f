"""Several hospitals, each a whole homeserver with TLS for the others, which find each other on loopback.

async with run_hospitals(["a.example", "b.example"], dsns, folder) as (a, b):
    alice, bob = await a.person("alice"), await b.person("bob")
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.circle import Circle
from tests.people import MEDIA_STORE, Hospital
from tests.ports import free_ports
from tim_server.app import prepare, start_process
from tim_server.app.process import RunningProcess
from tim_server.config.settings import Settings


@dataclass
class Network:
    """Names and ports of servers that find each other, and the authority that certifies them."""

    circle: Circle
    ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, names: Sequence[str]) -> "Network":
        """A network with these names, on ports that are free now."""
        return cls(Circle(folder / "circle"), dict(zip(names, free_ports(len(names)), strict=True)))

    @property
    def hosts(self) -> dict[str, str]:
        """The value of the option `federation.hosts`."""
        return {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}

    def settings(self, name: str, dsn: str, folder: Path, **tenant: Any) -> Settings:
        """The configuration of a homeserver in the network. `tenant` holds further options; those of `federation`, and
        of `listener`, which is for other servers, are added to what the network needs."""
        files = self.circle.tls_files(name)
        tls: Any = {"certificate": str(files.certificate), "private_key": str(files.private_key)}
        listener = {"port": self.ports[name], "resources": ["federation"], "tls": tls, **tenant.pop("listener", {})}
        listener["tls"] = listener["tls"] and tls | listener["tls"]
        federation = {"hosts": self.hosts, "ca_file": str(self.circle.ca_file), **tenant.pop("federation", {})}
        return Settings.model_validate(
            {
                "data_dir": str(folder),
                "media_store": MEDIA_STORE,
                "listeners": [{"port": 0}, listener],
                "tenants": [
                    {
                        "server_name": name,
                        "database": {"dsn": dsn},
                        "registration": {"enabled": True, "requires_token": False},
                        "passwords": {"argon2_memory_kib": 64, "argon2_time_cost": 1},
                        "rate_limits": {"enabled": False},
                        "presence": {"enabled": False},
                        "federation": federation,
                        **tenant,
                    }
                ],
            }
        )


@dataclass(repr=False)
class NetworkedHospital(Hospital):
    """A homeserver of a network. `process` lets tests look inside."""

    name: str
    process: RunningProcess


@asynccontextmanager
async def run_networked(
    network: Network, name: str, dsn: str, folder: Path, **tenant: Any
) -> AsyncIterator[NetworkedHospital]:
    """One homeserver of the network, which may be stopped and started again."""
    settings = network.settings(name, dsn, folder, **tenant)
    await prepare(settings)
    async with (
        start_process(settings) as process,
        aiohttp.ClientSession(f"http://{process.web_server.addresses[0]}") as session,
    ):
        yield NetworkedHospital(session, name, process)


@asynccontextmanager
async def run_hospitals(
    names: Sequence[str],
    dsns: Sequence[str],
    folder: Path,
    *,
    others: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> AsyncIterator[tuple[Network, tuple[NetworkedHospital, ...]]]:
    """Homeservers on these databases. `others` are names of the network that a test serves itself; `options` are
    further options of tenants by name."""
    network = Network.of(folder, [*names, *others])
    async with AsyncExitStack() as stack:
        hospitals = [
            await stack.enter_async_context(
                run_networked(network, name, dsn, folder / name, **dict((options or {}).get(name, {})))
            )
            for name, dsn in zip(names, dsns, strict=True)
        ]
        yield network, tuple(hospitals)
