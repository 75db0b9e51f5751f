"""A server as an operator runs it, `tim-server serve`, and ways to kill it and its PostgreSQL."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg

from tests.ports import free_ports
from tim_server.storage.embedded_cluster import SUPERUSER
from tim_server.storage.embedded_process import PostmasterFile, processes_in
from tim_server.storage.provision import DATABASE_NAME

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
SETTINGS = {
    "TIM_SERVER__REGISTRATION__ENABLED": "true",
    "TIM_SERVER__REGISTRATION__REQUIRES_TOKEN": "false",
    "TIM_SERVER__RATE_LIMITS__ENABLED": "false",
    "TIM_SERVER__PASSWORDS__ARGON2_MEMORY_KIB": "64",
    "TIM_SERVER__PASSWORDS__ARGON2_TIME_COST": "1",
    "PYTHONPATH": str(ROOT),
}
COMMITTING = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COMMIT%'"


@dataclass(kw_only=True)
class Site:
    """A server on ports that stay the same over its lives. `postgres_folder`: where its data is, embedded or not."""

    folder: Path
    postgres_folder: Path
    worker_count: int
    port: int
    health_port: int
    extra_settings: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    async def start(self) -> None:
        """Start it and wait until every worker is ready."""
        self._spawn()
        await self.wait_until_ready()

    def _spawn(self) -> None:
        command = [sys.executable, "-m", "tim_server", "serve", "--config", str(self.folder / "tim-server.yaml")]
        command += ["--workers", str(self.worker_count)]
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(
                command, env=os.environ | SETTINGS | self.extra_settings, stderr=stderr, start_new_session=True
            )

    async def wait_until_ready(self) -> None:
        """Wait until every worker says that it is ready."""
        async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession() as session:
            for index in range(self.worker_count):
                while not await _is_ready(session, f"http://127.0.0.1:{self.health_port + index}/ready"):
                    assert self.process is not None and self.process.poll() is None, self.log_end()
                    await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop it as an operator does."""
        if self.process is None:
            return
        self.process.terminate()
        exit_code = await asyncio.to_thread(self.process.wait, STOP_TIMEOUT_S)
        self.process = None
        assert exit_code == 0, self.log_end()

    def worker_pids(self) -> list[int]:
        """The processes that serve requests, without the parent of several."""
        assert self.process is not None
        if self.worker_count == 1:
            return [self.process.pid]
        return [pid for pid in _children_of(self.process.pid) if pid not in self.postgres_pids()]

    def postgres_pids(self) -> list[int]:
        """The processes of PostgreSQL, its parent first."""
        pids = processes_in(self.postgres_folder / "data")
        postmaster = PostmasterFile.read(self.postgres_folder / "data")
        return sorted(pids, key=lambda pid: postmaster is None or pid != postmaster.pid)

    async def kill(self) -> None:
        """SIGKILL the server, all of its processes; PostgreSQL stays behind without a parent."""
        assert self.process is not None
        pids = [self.process.pid, *self.worker_pids()]
        _kill(pids)
        await asyncio.to_thread(self.process.wait)
        self.process = None

    def kill_a_worker(self) -> None:
        """SIGKILL one of several workers."""
        _kill([random.choice(self.worker_pids())])

    def kill_postgres(self) -> None:
        """SIGKILL PostgreSQL's parent; the others notice and leave."""
        _kill(self.postgres_pids()[:1])

    def kill_all_of_postgres(self) -> None:
        """SIGKILL all processes of PostgreSQL."""
        _kill(self.postgres_pids())

    def kill_a_backend(self) -> None:
        """SIGKILL a process of PostgreSQL that is not its parent, whereupon it restarts all of them."""
        _kill([random.choice(self.postgres_pids()[1:])])

    async def kill_backend_in_commit(self, patience_s: float = 1.0) -> bool:
        """SIGKILL a backend while it says COMMIT; False when none was seen to."""
        deadline = asyncio.get_running_loop().time() + patience_s
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            connection = await asyncpg.connect(self.admin_dsn(), timeout=5)
            try:
                while asyncio.get_running_loop().time() < deadline:
                    row = await connection.fetchrow(COMMITTING)
                    if row is not None:
                        _kill([row["pid"]])
                        return True
            finally:
                connection.terminate()
        return False

    def admin_dsn(self) -> str:
        """How PostgreSQL's superuser connects."""
        return self._dsn(SUPERUSER, "superuser.password")

    def tenant_dsn(self, role: str) -> str:
        """How the homeserver connects that has this role."""
        return self._dsn(role, f"tenant-{role}.password")

    def _dsn(self, role: str, secret: str) -> str:
        postmaster = PostmasterFile.read(self.postgres_folder / "data")
        assert postmaster is not None
        password = (self.postgres_folder / secret).read_text().strip()
        host = quote(postmaster.socket_folder, safe="")
        return f"postgresql://{role}:{password}@/{DATABASE_NAME}?host={host}&port=5432"

    async def fetch(self, sql: str, *parameters: object) -> list[asyncpg.Record]:
        """Rows of the tenant's schema, for a look behind the scenes."""
        connection = await asyncpg.connect(self.admin_dsn(), timeout=10)
        try:
            schema = await connection.fetchval(
                "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg%' AND nspname <> ALL($1)",
                ["information_schema", "public"],
            )
            await connection.execute(f'SET search_path = "{schema}"')
            return list(await connection.fetch(sql, *parameters))
        finally:
            await connection.close()

    def log_end(self) -> str:
        """The end of the server's log."""
        return self.log.read_text(errors="replace")[-6000:]

    def bugs(self) -> list[str]:
        """Lines of the log that speak of a bug, not of an outage."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if "unexpected_error" in line or "Traceback" in line]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as response:
            return response.status == 200
    return False


def _prepare(site: Site) -> None:
    site.folder.mkdir(mode=0o711, exist_ok=True)
    options = ["--server-name", "hospital.example", "--data-dir", str(site.folder / "data"), "--port", str(site.port)]
    options += ["--health-port", str(site.health_port)]
    command = [sys.executable, "-m", "tim_server", "generate-config", *options]
    generated = subprocess.run(command, env=os.environ | SETTINGS, stdout=subprocess.PIPE, check=True)
    (site.folder / "tim-server.yaml").write_bytes(generated.stdout)


@asynccontextmanager
async def run_site(
    folder: Path,
    *,
    worker_count: int = 1,
    dsn: str | None = None,
    config: Callable[[Site], dict[str, Any]] | None = None,
) -> AsyncIterator[Site]:
    """A server that is ready, with its data in `folder`: on a PostgreSQL of its own, that keeps what it should when the
    power fails, or on the one of `dsn`, which is in the folder `postgresql` too. Its configuration is generated, unless
    `config` gives another."""
    port, health_port, *_ = free_ports(1 + worker_count)
    site = Site(
        folder=folder,
        postgres_folder=folder / "data" / "postgresql",
        worker_count=worker_count,
        port=port,
        health_port=health_port,
        extra_settings={} if dsn is None else {"TIM_SERVER__DATABASE__DSN": dsn},
    )
    if config is None:
        await asyncio.to_thread(_prepare, site)
    else:
        site.folder.mkdir(mode=0o711, exist_ok=True)
        (site.folder / "tim-server.yaml").write_text(json.dumps(config(site)))  # JSON is YAML
    try:
        await site.start()
        yield site
        await site.stop()
        assert not site.bugs(), site.bugs()
    finally:
        if site.process is not None:
            await site.kill()
        if dsn is None:
            site.kill_all_of_postgres()
