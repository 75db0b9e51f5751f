"""`tim-server demo`: two hospitals in a circle of trust and a server that is not, all on this machine, and what happens
between them, for a person to follow."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tim_server.app import prepare
from tim_server.cli.demo_circle import found_circle
from tim_server.cli.demo_client import DemoClient, DemoFailed
from tim_server.cli.demo_conversation import Clinician, converse
from tim_server.cli.demo_encryption import check_installed, make_device
from tim_server.cli.demo_folder import POSTGRES_FOLDER, passing_folder
from tim_server.cli.demo_places import ADDRESS, Place, Places, folder_mode, make_places, write_configurations
from tim_server.cli.demo_stranger import Stranger, show_directory
from tim_server.cli.demo_watch import watched_door
from tim_server.cli.event_loop import run
from tim_server.cli.failures import CommandFailed
from tim_server.cli.serve import check_port
from tim_server.cli.supervise import WORKER_MODULE, end_process
from tim_server.cli.trust_authority_serve import ListeningAt, serve_until
from tim_server.cli.user_accounts import create_user
from tim_server.config.database import DatabaseSettings
from tim_server.config.load import load_settings
from tim_server.matrix.errors import UserInUse
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.storage.embedded import EmbeddedPostgres

START_TIMEOUT_S = 60.0
START_POLL_INTERVAL_S = 0.05
STOP_TIMEOUT_S = 30.0
LOG_LINES_SHOWN = 15
CONNECTIONS_MAX = 3 * DatabaseSettings().connections_max + 20


def run_demo(data_dir: Path | None, *, once: bool, port: int | None) -> None:
    """Run the demonstration; with `once` it ends after the last act. Without `data_dir`, nothing is left behind.

    Raises what `failures_told` tells.
    """
    check_installed()
    console = Console(highlight=False, soft_wrap=True)
    kept = None if data_dir is None else contextlib.nullcontext(data_dir.absolute())
    with kept or passing_folder(folder_mode()) as folder:
        places = make_places(folder, port=port)
        for each in places.ports:
            check_port(ADDRESS, each)
        console.print(f"[bold]A demonstration of tim-server.[/] Everything it keeps is in {escape(str(folder))}")
        console.print("Starting the embedded PostgreSQL …")
        postgres = EmbeddedPostgres(
            folder / POSTGRES_FOLDER, durable=data_dir is not None, max_connections=CONNECTIONS_MAX
        )
        with postgres:
            if not postgres.is_owner:
                raise CommandFailed(f"another process works in {folder}: stop it, or name another --data-dir")
            demo = _Demo(places=places, postgres=postgres, console=console, is_kept=data_dir is not None)
            run(lambda stop: demo.run(stop, once=once))
    console.print("Stopped.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demo:
    places: Places
    postgres: EmbeddedPostgres
    console: Console
    is_kept: bool

    async def run(self, stop: asyncio.Event, *, once: bool) -> None:
        """Act until the end, or until `stop`; raises `CommandFailed` where something is not as it should be."""
        acting = asyncio.ensure_future(self._act(once=once))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((acting, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
        if not acting.cancelled():
            acting.result()
        elif once:
            raise CommandFailed("stopped before the end")

    async def _act(self, *, once: bool) -> None:
        """Set the scene, act; then go on serving unless it is for once."""
        await self._prepare()
        places = self.places
        async with self._authority_serves(), AsyncExitStack() as stack:
            inner_port = places.stranger.federation_port
            door = await stack.enter_async_context(watched_door(places.watched_port, inner_port))
            processes = [await stack.enter_async_context(_running(place)) for place in places.all]
            await asyncio.gather(*map(self._wait_until_up, places.all, processes))
            st_mary, city, stranger = [
                await stack.enter_async_context(aiohttp.ClientSession(place.url)) for place in places.all
            ]
            it = await self._sign_in("it", f"IT of {places.st_mary.title}", st_mary)
            for administrator in (it, await self._sign_in("it", f"IT of {places.city.title}", city)):
                await show_directory(administrator)
            alice = await self._with_keys(await self._sign_in("alice", "Alice", st_mary))
            bob = await self._with_keys(await self._sign_in("bob", "Bob", city))
            room_id, file_url = await converse(alice, bob, places)
            mallory = await self._sign_in("mallory", "Mallory", stranger)
            act = Stranger(mallory=mallory, it=it, places=places, door=door, console=self.console)
            await act.try_everything(alice.client, room_id, file_url)
            self.console.print("\n[bold green]Everything went as it should.[/]")
            if not once:
                self._invite()
                await asyncio.Event().wait()

    async def _prepare(self) -> None:
        """The circle, the databases, accounts of administrators, and a configuration for each server."""
        places = self.places
        await asyncio.to_thread(found_circle, places, self.console)
        dsns = {str(place.name): await self.postgres.provision_tenant(place.database_role) for place in places.all}
        write_configurations(places, dsns)
        await asyncio.gather(*(prepare(load_settings(place.config, {})) for place in places.all))
        self.console.print("\nThree databases are migrated, and each server has its keys.")
        for place in (places.st_mary, places.city):
            await asyncio.to_thread(self._make_administrator, place)

    def _make_administrator(self, place: Place) -> None:
        """Unless a former run has."""
        with contextlib.suppress(UserInUse):
            create_user(place.config, "it", self.places.passwords["it"], is_admin=True, server_name=None)

    @asynccontextmanager
    async def _authority_serves(self) -> AsyncIterator[None]:
        places, stop = self.places, asyncio.Event()
        listening = ListeningAt(address=ADDRESS, port=places.authority_port)
        serving = asyncio.create_task(serve_until(AuthorityFolder(places.authority_folder), listening, stop))
        try:
            yield
        finally:
            stop.set()
            await serving

    async def _wait_until_up(self, place: Place, process: Process) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_TIMEOUT_S
        async with aiohttp.ClientSession(place.url) as session:
            while loop.time() < deadline and process.returncode is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get("/_matrix/client/versions") as response:
                        if response.status == 200:
                            log = escape(str(place.log))
                            self.console.print(
                                f"[bold]{place.name}[/] answers clients at {place.url}; its log is {log}"
                            )
                            return
                await asyncio.sleep(START_POLL_INTERVAL_S)
        lines = place.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        raise DemoFailed("\n".join([f"{place.name} did not start; its log ends:", *lines]))

    async def _sign_in(self, username: str, name: str, session: aiohttp.ClientSession) -> DemoClient:
        client = DemoClient(name=name, session=session, console=self.console)
        client.say("signs in.")
        await client.sign_in(username, self.places.passwords[username])
        return client

    async def _with_keys(self, client: DemoClient) -> Clinician:
        client.say("publishes the keys of a device.")
        device = make_device(client)
        await device.publish_keys()
        return Clinician(client=client, device=device)

    def _invite(self) -> None:
        """Say how a client gets in."""
        table = Table("user", "password", "homeserver", title="Accounts for Matrix clients", title_justify="left")
        places = self.places
        for username, place in (("alice", places.st_mary), ("bob", places.city), ("mallory", places.stranger)):
            table.add_row(f"@{username}:{place.name}", places.passwords[username], place.url)
        self.console.print()
        self.console.print(table)
        folder = escape(str(places.folder))
        end = f"the data stays in {folder}" if self.is_kept else "nothing is left then (--data-dir would keep it)"
        self.console.print(f"Ctrl-C stops it; {end}")


@asynccontextmanager
async def _running(place: Place) -> AsyncIterator[Process]:
    """The server in a process of its own, which ends with this one."""
    with place.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", WORKER_MODULE, str(place.config), "0", "1"),
            stdin=PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await end_process(process, timeout_s=STOP_TIMEOUT_S)
