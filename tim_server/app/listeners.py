"""The web server of a process: which routes and homeservers each listener serves."""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.registry import CollectorRegistry

from tim_server.admin_api import routes as admin_routes
from tim_server.app.homeserver import OpenHomeserver
from tim_server.app.open_files import connections_per_listener_max
from tim_server.client_api import routes as client_routes
from tim_server.config.listeners import ListenerSettings
from tim_server.config.settings import Settings, TenantSettings
from tim_server.federation_api import routes as federation_routes
from tim_server.web.pipeline import RequestLimits
from tim_server.web.rate_limits import BUCKETS_MAX, RateLimit, RateLimits
from tim_server.web.route import Route
from tim_server.web.server import HealthListener, Listener, WebServer, WebSettings
from tim_server.web.tenants import HostedTenant
from tim_server.web.tls import TlsFiles

_TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def make_web_server(
    settings: Settings,
    homeservers: Sequence[OpenHomeserver],
    *,
    worker_index: int,
    worker_count: int,
    registry: CollectorRegistry,
    log_access: Callable[[dict[str, Any]], None] | None,
) -> WebServer:
    """The listeners of the configuration, not yet open."""
    public = [each for each in settings.listeners if each.is_public]
    client_anchors = _client_anchors(settings)
    operators = [each for each in settings.listeners if not each.is_public]
    return WebServer(
        listeners=[_listener(each, worker_index, worker_count, client_anchors) for each in public],
        tenants=[
            _hosted(tenant, opened, worker_count=worker_count, buckets_max=BUCKETS_MAX // len(homeservers))
            for tenant, opened in zip(settings.tenants, homeservers, strict=True)
        ],
        settings=WebSettings(
            limits=RequestLimits(
                body_size_bytes_max=settings.limits.request_body_bytes_max,
                body_timeout_seconds=settings.limits.body_timeout_s,
                json_depth_max=settings.limits.json_depth_max,
            ),
            header_size_bytes_max=settings.limits.header_bytes_max,
            bodies_bytes_max=settings.limits.bodies_bytes_max,
            connections_max=connections_per_listener_max(settings),
            shutdown_seconds=settings.limits.shutdown_timeout_s,
        ),
        health=_health(operators[0], homeservers, worker_index) if operators else None,
        registry=registry,
        log_access=log_access,
    )


def _hosted(tenant: TenantSettings, opened: OpenHomeserver, *, worker_count: int, buckets_max: int) -> HostedTenant:
    """A homeserver with the policy of its own section of the configuration."""
    return HostedTenant(
        homeserver=opened.homeserver,
        host_names=opened.host_names,
        rate_limits=RateLimits(
            {
                name: RateLimit(per_second=bucket.per_second, burst=bucket.burst)
                for name, bucket in tenant.rate_limits.buckets().items()
            },
            exempt=tenant.rate_limits.exempt_users,
            worker_count=worker_count,
            buckets_max=max(1, buckets_max),
        ),
        accept_query_tokens=tenant.compatibility.access_token_in_query,
        serve_r0=tenant.compatibility.r0_paths,
    )


def _client_anchors(settings: Settings) -> tuple[Path, ...]:
    """Who may have certified the clients of listeners that ask for certificates, of whichever homeserver."""
    files = (tenant.trust.certificates.anchors_file for tenant in settings.tenants if tenant.trust.mutual_tls.required)
    return tuple(dict.fromkeys(file for file in files if file is not None))


def _listener(
    listener: ListenerSettings, worker_index: int, worker_count: int, client_anchors: Sequence[Path]
) -> Listener:
    routes: list[Route] = []
    if "client" in listener.resources:
        routes += [*client_routes.ROUTES, *admin_routes.ROUTES]
    if "federation" in listener.resources:
        routes += federation_routes.ROUTES
    tls = listener.tls
    return Listener(
        routes=routes,
        host=listener.address,
        port=listener.port_of(worker_index),
        tls=None if tls is None else TlsFiles(certificate=tls.certificate, private_key=tls.private_key),
        tls_version_min=_TLS_VERSIONS["1.2" if tls is None else tls.version_min],
        share_port=worker_count > 1,
        trusted_proxies=[str(network) for network in listener.trusted_proxies],
        reads_forwarded=listener.forwarding_header == "Forwarded",
        client_anchors=client_anchors if tls is not None and tls.request_client_certificates else (),
        client_certificate_header=listener.client_certificate_header,
    )


def _health(listener: ListenerSettings, homeservers: Sequence[OpenHomeserver], worker_index: int) -> HealthListener:
    return HealthListener(
        host=listener.address,
        port=listener.port_of(worker_index),
        checks={f"database of {opened.homeserver.server_name}": opened.check_database for opened in homeservers},
    )
