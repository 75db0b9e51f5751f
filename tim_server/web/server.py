"""Listeners, and how they start and stop.

server = WebServer(
    listeners=[Listener(host="127.0.0.1", port=8008, routes=CLIENT_ROUTES)],
    tenants=[HostedTenant(homeserver=homeserver, host_names=["example.org"])],
    health=HealthListener(port=9000, checks={"database": database.ping}),
)
await server.start()
...
await server.stop()
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.registry import CollectorRegistry

from tim_server.observability.metrics import ReadAtScrape, RequestMetrics, new_registry
from tim_server.web.body_memory import BodyMemory
from tim_server.web.client_address import TrustedProxies
from tim_server.web.client_certificates import ClientCertificates
from tim_server.web.connection import HttpServer
from tim_server.web.exchange import Observer
from tim_server.web.health import HealthPages, ReadyCheck
from tim_server.web.pipeline import Pipeline, RequestLimits
from tim_server.web.rate_limits import DEFAULT_BUCKET
from tim_server.web.route import Route
from tim_server.web.router import Router
from tim_server.web.tenants import HostedTenant, Tenants
from tim_server.web.tls import ServerTls, TlsFiles

_log = structlog.get_logger("web")

_BACKLOG = 1024
_LINGERING_SECONDS = 3.0  # how long a refused body is still read, so that the client sees the answer
_HEALTH_CONNECTIONS_MAX = 100
_TLS_CHECK_SECONDS = 60.0
_TLS_HANDSHAKE_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """An address to listen at, and what is served there: `host` and `port` (0 takes any), or a unix socket.

    `share_port` lets several worker processes listen at the same port. `tls` None means plain HTTP, as behind a
    reverse proxy. `trusted_proxies` are the networks whose forwarding headers are believed: `X-Forwarded-For`, or with
    `reads_forwarded` the `Forwarded` of RFC 7239. With `client_anchors` (files, PEM) clients are asked for a
    certificate that one of them has certified; `client_certificate_header` is where proxies hand on that of theirs.
    """

    routes: Sequence[Route]
    host: str = "127.0.0.1"
    port: int = 0
    unix_socket: Path | None = None
    tls: TlsFiles | None = None
    tls_version_min: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    share_port: bool = False
    trusted_proxies: Sequence[str] = ()
    reads_forwarded: bool = False
    client_anchors: Sequence[Path] = ()
    client_certificate_header: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthListener:
    """The operators' address for `/health`, `/ready` and `/metrics`."""

    host: str = "127.0.0.1"
    port: int = 0
    unix_socket: Path | None = None
    checks: Mapping[str, ReadyCheck] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """What the operator chooses for all listeners and homeservers."""

    limits: RequestLimits = field(default_factory=RequestLimits)
    keepalive_seconds: float = 75.0
    unread_timeout_seconds: float = 60.0
    connections_max: int = 10_000
    header_size_bytes_max: int = 16 * 1024
    bodies_bytes_max: int = 512 * 2**20
    shutdown_seconds: float = 20.0


class WebServer:
    """All listeners of one process."""

    def __init__(
        self,
        *,
        listeners: Sequence[Listener],
        tenants: Sequence[HostedTenant],
        settings: WebSettings | None = None,
        health: HealthListener | None = None,
        registry: CollectorRegistry | None = None,
        log_access: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Nothing is opened yet. Raises ValueError for a route whose rate limit a tenant does not name, and for tenants
        of the same name."""
        self.shutting_down = asyncio.Event()
        self.addresses: list[str] = []
        """Where the listeners are, in order, once started: `host:port` or the socket's path."""
        self.health_address = ""
        """Where the operators' listener is, once started."""
        self._listeners = listeners
        self._health = health
        self._settings = settings or WebSettings()
        self._registry = registry or new_registry()
        self._tenants = Tenants(tenants)
        self._memory = BodyMemory(bytes_max=self._settings.bodies_bytes_max)
        self._router_kinds = {tenant.serve_r0 for tenant in tenants}
        self._observer = Observer(RequestMetrics(), log_access)
        self._registry.register(self._observer.metrics)
        self._registry.register(
            ReadAtScrape(
                "tim_http_connections", "Open connections", lambda: sum(s.connection_count for s in self._http_servers)
            )
        )
        self._http_servers: list[HttpServer] = []
        self._sockets: list[asyncio.Server] = []
        self._health_socket: asyncio.Server | None = None
        self._health_server: HttpServer | None = None
        self._tls: list[ServerTls] = []
        self._tls_watch: asyncio.Task[None] | None = None
        for listener in listeners:
            _check_rate_limit_names(listener.routes, tenants)

    async def start(self) -> None:
        """Open all listeners; raises OSError or ssl.SSLError where one can't be, and then none is open."""
        try:
            if self._health is not None:
                await self._start_health(self._health)
            for listener in self._listeners:
                await self._start_listener(listener)
        except BaseException:
            await self.stop()
            raise
        if self._tls:
            self._tls_watch = asyncio.create_task(self._watch_tls_files())

    async def stop(self) -> None:
        """Stop accepting, wake who waits, finish what is in flight; after the time limit, cancel it.

        The operators' listener stays until the end and says that the server is not ready.
        """
        self.shutting_down.set()
        if self._tls_watch is not None:
            self._tls_watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._tls_watch
        for listening in self._sockets:
            listening.close()
        for server in self._http_servers:
            server.pre_shutdown()
        await asyncio.gather(*(server.shutdown(self._settings.shutdown_seconds) for server in self._http_servers))
        if self._health_socket is not None and self._health_server is not None:
            self._health_socket.close()
            self._health_server.pre_shutdown()
            await self._health_server.shutdown(1.0)
        self._remove_unix_sockets()

    def reload_tls(self) -> None:
        """Take new certificates from the files, as SIGHUP asks for; a pair that can't be used is reported and left."""
        for tls in self._tls:
            try:
                if tls.reload_if_changed():
                    _log.info("certificate_reloaded", file=str(tls.files.certificate))
            except (OSError, ssl.SSLError):
                _log.exception("certificate_not_reloaded", file=str(tls.files.certificate))

    async def _start_listener(self, listener: Listener) -> None:
        settings = self._settings
        pipeline = Pipeline(
            routers={serve_r0: Router(listener.routes, serve_r0=serve_r0) for serve_r0 in self._router_kinds},
            tenants=self._tenants,
            proxies=TrustedProxies(listener.trusted_proxies, reads_forwarded=listener.reads_forwarded),
            certificates=ClientCertificates(header=listener.client_certificate_header),
            limits=settings.limits,
            memory=self._memory,
            observer=self._observer,
            shutting_down=self.shutting_down,
        )
        server = HttpServer(
            pipeline.answer,
            connections_max=settings.connections_max,
            unread_timeout_seconds=settings.unread_timeout_seconds,
            keepalive_timeout=settings.keepalive_seconds,
            lingering_time=_LINGERING_SECONDS,
            max_line_size=settings.header_size_bytes_max,
            max_field_size=settings.header_size_bytes_max,
        )
        context = None
        if listener.tls is not None:
            tls = ServerTls(listener.tls, listener.tls_version_min, tuple(listener.client_anchors))
            self._tls.append(tls)
            context = tls.context
        listening = await _listen(server, listener, context)
        self._http_servers.append(server)
        self._sockets.append(listening)
        self.addresses.append(_address_of(listening))

    async def _start_health(self, health: HealthListener) -> None:
        pages = HealthPages(registry=self._registry, checks=health.checks, shutting_down=self.shutting_down)
        self._health_server = HttpServer(
            pages.answer,
            connections_max=_HEALTH_CONNECTIONS_MAX,
            keepalive_timeout=self._settings.keepalive_seconds,
        )
        self._health_socket = await _listen(self._health_server, health, None)
        self.health_address = _address_of(self._health_socket)

    async def _watch_tls_files(self) -> None:
        while True:
            await asyncio.sleep(_TLS_CHECK_SECONDS)
            self.reload_tls()

    def _remove_unix_sockets(self) -> None:
        paths = [listener.unix_socket for listener in (*self._listeners, self._health) if listener is not None]
        for path in paths:
            if path is not None:
                path.unlink(missing_ok=True)


def _check_rate_limit_names(routes: Sequence[Route], tenants: Sequence[HostedTenant]) -> None:
    wanted = {route.rate_limit or DEFAULT_BUCKET for route in routes}
    for tenant in tenants:
        unknown = wanted - tenant.rate_limits.names
        if tenant.rate_limits.names and unknown:
            raise ValueError(f"routes ask for rate limits that the settings do not name: {sorted(unknown)}")


async def _listen(
    server: HttpServer, where: Listener | HealthListener, context: ssl.SSLContext | None
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    if where.unix_socket is not None:
        return await loop.create_unix_server(server, str(where.unix_socket), ssl=context, backlog=_BACKLOG)
    return await loop.create_server(
        server,
        where.host,
        where.port,
        ssl=context,
        ssl_handshake_timeout=_TLS_HANDSHAKE_SECONDS if context is not None else None,
        backlog=_BACKLOG,
        reuse_port=(isinstance(where, Listener) and where.share_port) or None,
    )


def _address_of(listening: asyncio.Server) -> str:
    name = listening.sockets[0].getsockname()
    if isinstance(name, str):
        return name
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{host}:{name[1]}"
