"""`tim-server trust authority serve`: what is published, over HTTP or HTTPS, and signed anew in time."""

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog
import typer

from tim_server.background.supervise import Loop, supervise
from tim_server.cli.event_loop import run
from tim_server.cli.failures import EXIT_CONFIGURATION, EXIT_UNAVAILABLE, CommandFailed
from tim_server.cli.logs import logging_as
from tim_server.config.observability import ObservabilitySettings
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.keys import check_passphrase
from tim_server.services.directory_authority.publication import read_publication
from tim_server.services.directory_authority.sign import renew_if_due
from tim_server.trust.publication import MEDIA_TYPES
from tim_server.web.authority_pages import AuthorityPages
from tim_server.web.connection import HttpServer
from tim_server.web.tls import ServerTls, TlsFiles

LOOK_INTERVAL_S = 1.0
"""How often the folder is looked at for what was signed."""
RENEW_INTERVAL_S = 60.0
CONNECTIONS_MAX = 1000
KEEPALIVE_S = 30.0
HEADER_BYTES_MAX = 8192
SHUTDOWN_S = 5.0
TLS_HANDSHAKE_S = 15.0

_log = structlog.get_logger("authority")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningAt:
    """Where to listen; `tls` are the files of certificate and private key."""

    address: str
    port: int
    tls: tuple[Path, Path] | None = None


def serve_authority(folder: AuthorityFolder, listening: ListeningAt) -> None:
    """Serve until SIGTERM or SIGINT. Raises what `failures_told` tells."""
    check_passphrase(folder)
    with logging_as(ObservabilitySettings()):
        run(lambda stop: serve_until(folder, listening, stop))


async def serve_until(folder: AuthorityFolder, listening: ListeningAt, stop: asyncio.Event) -> None:
    """Serve until `stop`; raises `CommandFailed` where the address can't be listened on."""
    tls = _tls(listening)
    pages = AuthorityPages()
    publisher = Publisher(folder=folder, pages=pages, tls=tls)
    await publisher.publish()
    server = HttpServer(
        pages.answer,
        connections_max=CONNECTIONS_MAX,
        keepalive_timeout=KEEPALIVE_S,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
    )
    socket = await _listen(server, listening, tls)
    loops = supervise([Loop(name="authority", interval_s=LOOK_INTERVAL_S, work=publisher.publish)])
    try:
        host, port = socket.sockets[0].getsockname()[:2]
        scheme = "http" if tls is None else "https"
        typer.echo(f"serving on {scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        await stop.wait()
    finally:
        await loops.stop()
        socket.close()
        server.pre_shutdown()
        await server.shutdown(SHUTDOWN_S)


@dataclass(slots=True, kw_only=True)
class Publisher:
    """Keeps what the pages show as it is in the folder, and what is in the folder from expiring."""

    folder: AuthorityFolder
    pages: AuthorityPages
    tls: ServerTls | None = None
    _renew_at: float = field(default=0.0, init=False)
    _seen: tuple[tuple[int, int], ...] = field(default=(), init=False)

    async def publish(self) -> None:
        """Renew what is due, and show what is new. Raises `AuthorityFailed`; what was shown goes on being shown."""
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW_INTERVAL_S
            await self._renew()
        seen = await asyncio.to_thread(self._look)
        if seen != self._seen:
            self.pages.publication = await asyncio.to_thread(read_publication, self.folder)
            self._seen = seen

    async def _renew(self) -> None:
        try:
            renewed = await asyncio.to_thread(renew_if_due, self.folder, datetime.now(UTC))
        except BaseException:
            self.pages.is_healthy = False
            raise
        self.pages.is_healthy = True
        if renewed.directory is not None:
            _log.info("directory_renewed", version=renewed.directory.version)
        if renewed.has_crl:
            _log.info("revocation_list_renewed")
        self._reload_tls()

    def _look(self) -> tuple[tuple[int, int], ...]:
        """What changes with each file that is replaced."""
        files = [self.folder.public_file(path) for path in MEDIA_TYPES]
        return tuple((file.stat().st_mtime_ns, file.stat().st_ino) for file in files if file.exists())

    def _reload_tls(self) -> None:
        try:
            if self.tls is not None and self.tls.reload_if_changed():
                _log.info("certificate_reloaded")
        except (OSError, ssl.SSLError):
            _log.exception("certificate_not_reloaded")


def _tls(listening: ListeningAt) -> ServerTls | None:
    if listening.tls is None:
        return None
    certificate, private_key = listening.tls
    try:
        return ServerTls(TlsFiles(certificate=certificate, private_key=private_key))
    except (OSError, ssl.SSLError) as error:
        reason = f"{certificate} and {private_key} can't be used for HTTPS: {error}"
        raise CommandFailed(reason, exit_code=EXIT_CONFIGURATION) from None


async def _listen(server: HttpServer, listening: ListeningAt, tls: ServerTls | None) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(
            server,
            listening.address,
            listening.port,
            ssl=None if tls is None else tls.context,
            ssl_handshake_timeout=None if tls is None else TLS_HANDSHAKE_S,
        )
    except OSError as error:
        reason = f"cannot listen on {listening.address} port {listening.port}: {error.strerror}"
        raise CommandFailed(reason, exit_code=EXIT_UNAVAILABLE) from None
