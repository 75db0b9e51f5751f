"""`tim-server demo`: a server of its own in a folder, and a conversation on it that a person can follow."""

import asyncio
import json
import os
import secrets
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tim_server.cli.databases import open_databases
from tim_server.cli.demo_client import DemoClient, DemoFailed
from tim_server.cli.demo_conversation import NAMES, converse
from tim_server.cli.event_loop import run, until_done
from tim_server.cli.failures import CommandFailed
from tim_server.cli.serve import check_ports
from tim_server.cli.supervise import WORKER_MODULE, end_process
from tim_server.config.load import load_settings
from tim_server.config.settings import Settings
from tim_server.config.signing_key import ensure_signing_key
from tim_server.storage.migrations import migrate

SERVER_NAME = "localhost"
ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8008
START_TIMEOUT_S = 60.0
START_POLL_INTERVAL_S = 0.05
STOP_TIMEOUT_S = 30.0
PASSWORD_BYTES = 9
LOG_LINES_SHOWN = 15

_TEMPLATE = """\
# Configuration of the demonstration; tim-server demo writes it, tim-server serve --config runs it as well.
server_name: {server_name}
data_dir: .
listeners:
  - address: 127.0.0.1
    port: {port}
    resources: [client]
registration:
  # On loopback, for a demonstration: whoever reaches the server may register.
  enabled: true
  requires_token: false
observability:
  log_format: console
"""


def run_demo(data_dir: Path, *, once: bool, port: int | None) -> None:
    """Run the demonstration; with `once` it ends after the conversation. Raises what `failures_told` tells."""
    folder = data_dir.absolute()
    console = Console(highlight=False, soft_wrap=True)
    port = port or _free_port()
    config = _write_config(folder, port)
    settings = load_settings(config, {})
    check_ports(settings)
    console.print(f"[bold]A demonstration of tim-server.[/] Everything it keeps is in {escape(str(folder))}")
    console.print("Starting the embedded PostgreSQL …")
    with open_databases(settings) as databases:
        if databases.postgres is not None and not databases.postgres.is_owner:
            raise CommandFailed(f"another process works in {folder}: stop it, or name another --data-dir")
        demo = _Demo(folder=folder, config=config, url=f"http://127.0.0.1:{port}", console=console)
        run(lambda stop: until_done(demo.run(databases.settings, stop, once=once), databases.watch()))
    console.print("Stopped.")


def _free_port() -> int:
    """The usual port, or one that is free where that is taken."""
    for port in (DEFAULT_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
                probe.listen(1)
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise CommandFailed(f"no port is free on {ADDRESS}")


def _write_config(folder: Path, port: int) -> Path:
    """A configuration that `serve` runs as well."""
    path = folder / "tim-server.yaml"
    text = _TEMPLATE.format(server_name=SERVER_NAME, port=port)
    try:
        folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from None
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demo:
    folder: Path
    config: Path
    url: str
    console: Console

    async def run(self, settings: Settings, stop: asyncio.Event, *, once: bool) -> None:
        """Migrate, serve, converse; then wait for `stop` unless it is for once."""
        for tenant in settings.tenants:
            ensure_signing_key(settings.signing_key_path(tenant))
            if tenant.database.dsn is not None:
                applied = await migrate(tenant.database.dsn.get_secret_value())
                self.console.print(f"Migrating its schema … {len(applied)} migrations applied")
        async with self._served(stop) as server, aiohttp.ClientSession(self.url) as session:
            await self._wait_until_up(session, server)
            self.console.print(f"The server listens on [bold]{self.url}[/], its log is {escape(str(self.log))}")
            passwords = self._passwords()
            clients = [DemoClient(name=name, session=session, console=self.console) for name in NAMES.values()]
            for client, username in zip(clients, NAMES, strict=True):
                client.say("signs in.")
                await client.sign_in(username, passwords[username])
            await converse(*clients)
            self.console.print("\n[bold green]The conversation went as it should.[/]")
            if not once:
                self._invite(passwords)
                await stop.wait()

    @property
    def log(self) -> Path:
        """Where the server's log goes, which would be in the way here."""
        return self.folder / "server.log"

    @asynccontextmanager
    async def _served(self, stop: asyncio.Event) -> AsyncIterator[Process]:
        """The server in a process of its own."""
        with self.log.open("ab") as log:
            command = ["-m", WORKER_MODULE, str(self.config), "0", "1"]
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdin=PIPE, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            await end_process(process, timeout_s=STOP_TIMEOUT_S)

    async def _wait_until_up(self, session: aiohttp.ClientSession, server: Process) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_TIMEOUT_S
        while loop.time() < deadline:
            if server.returncode is not None:
                break
            try:
                async with session.get("/_matrix/client/versions") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(START_POLL_INTERVAL_S)
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        raise DemoFailed("\n".join(["the server did not start; its log ends:", *lines]))

    def _passwords(self) -> dict[str, str]:
        """Made at random by the first run, and kept for the next ones."""
        path = self.folder / "accounts.json"
        if not path.exists():
            passwords = {username: secrets.token_urlsafe(PASSWORD_BYTES) for username in NAMES}
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(passwords, file)
        kept: dict[str, str] = json.loads(path.read_text())
        return kept

    def _invite(self, passwords: Mapping[str, str]) -> None:
        """Say how a client gets in."""
        table = Table("user", "password", title="Accounts for a Matrix client of your choice", title_justify="left")
        for username, password in passwords.items():
            table.add_row(f"@{username}:{SERVER_NAME}", password)
        self.console.print()
        self.console.print(table)
        self.console.print(
            f"Homeserver: [bold]{self.url}[/]    Ctrl-C stops it; the data stays in {escape(str(self.folder))}"
        )
