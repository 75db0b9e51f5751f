"""What happens to every request, in this order:

request id and client address → preflight → tenant → route → account → rate limit → body → JSON → request model →
endpoint → response, or error → one log line and one sample.

Nothing of the body is read before the account is known and within its rate.

Spec: https://spec.matrix.org/v1.19/client-server-api/#api-standards
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import thread_time
from typing import Any

from aiohttp.web import BaseRequest, StreamResponse

from tim_server.matrix.errors import (
    Forbidden,
    GuestAccessForbidden,
    MatrixError,
    MethodNotAllowed,
    MissingToken,
    NotJson,
)
from tim_server.matrix.request_auth import destination_of
from tim_server.observability.request_id import current_request_id, new_request_id
from tim_server.services.accounts.requester import Requester
from tim_server.web.body_memory import BodyMemory
from tim_server.web.client_address import TrustedProxies
from tim_server.web.client_certificates import ClientCertificates
from tim_server.web.context import RequestContext, enter_request
from tim_server.web.decode_json import JSON_DEPTH_MAX, decode_object, decode_signed
from tim_server.web.errors import BadRequest, to_matrix_error
from tim_server.web.exchange import Exchange, Observer
from tim_server.web.parse_target import path_segments, query_values, split_target
from tim_server.web.rate_limits import DEFAULT_BUCKET, FEDERATION_BUCKET, address_key
from tim_server.web.read_body import BodyStream, ClientGone, read_body
from tim_server.web.respond import is_streamed, respond, respond_in_pieces, respond_to_error, respond_to_preflight
from tim_server.web.route import Auth, Route
from tim_server.web.router import Router
from tim_server.web.tenants import HostedTenant, Tenants

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_SERVERS = frozenset({Auth.SERVER, Auth.SERVER_OR_STRANGER})

FREE_S = 0.005
"""So long, of a processor's time, a body of another server may take to be decoded and verified: most take less than a
tenth of it."""
REQUEST_S = 0.0005
"""What takes longer counts as so many requests. Nothing else runs meanwhile, and anybody can send it."""

Query = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Bounds of one request."""

    body_size_bytes_max: int = 1024 * 1024
    body_timeout_seconds: float = 30.0
    json_depth_max: int = JSON_DEPTH_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Answers the requests of one listener. `routers` are the one without old `r0` paths and the one with them."""

    routers: Mapping[bool, Router]
    tenants: Tenants
    proxies: TrustedProxies
    certificates: ClientCertificates
    limits: RequestLimits
    memory: BodyMemory
    observer: Observer
    shutting_down: asyncio.Event

    async def answer(self, request: BaseRequest) -> StreamResponse:
        """The response to `request`, whatever happens; only a cancelled one has none."""
        exchange = self._open(request)
        try:
            response = await self._answer_or_explain(request, exchange)
            exchange.status = response.status
            return response
        except ClientGone:
            return respond_to_error(BadRequest(), exchange.context.request_id)
        finally:
            if exchange.share is not None:
                exchange.share.give_back()
            self.observer.close(exchange)

    def _open(self, request: BaseRequest) -> Exchange:
        headers = request.headers
        transport = request.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        origin = self.proxies.origin(
            peer[0] if isinstance(peer, tuple) else "",
            headers,
            is_tls=transport is not None and transport.get_extra_info("sslcontext") is not None,
        )
        given_id = headers.get("X-Request-ID") if origin.is_proxied else None
        request_id = given_id if given_id and _REQUEST_ID.fullmatch(given_id) else new_request_id()
        context = RequestContext(
            request_id=request_id,
            client_address=origin.address,
            is_proxied=origin.is_proxied,
            scheme=origin.scheme,
            host=headers.get("Host", "").lower(),
            user_agent=headers.get("User-Agent", ""),
            shutting_down=self.shutting_down,
        )
        current_request_id.set(request_id)
        enter_request(context)
        self.observer.metrics.in_flight += 1
        return Exchange(request.method, context)

    async def _answer_or_explain(self, request: BaseRequest, exchange: Exchange) -> StreamResponse:
        request_id = exchange.context.request_id
        try:
            return await self._answer(request, exchange)
        except ClientGone:
            raise
        except Exception as error:
            matrix_error = to_matrix_error(error, route=exchange.route_name)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Something that the endpoint waited for was cancelled, but not this request.
            matrix_error = to_matrix_error(
                RuntimeError("cancelled from within").with_traceback(error.__traceback__), route=exchange.route_name
            )
        matrix_error.__traceback__ = None  # with which it would keep itself, and the body, until garbage is collected
        return respond_to_error(matrix_error, request_id, _allowed_methods(matrix_error, exchange.router, request))

    async def _answer(self, request: BaseRequest, exchange: Exchange) -> StreamResponse:
        if request.method == "OPTIONS":
            return respond_to_preflight(exchange.context.request_id)
        tenant = self.tenants.of(exchange.context.host, destination_of(request.headers.get("Authorization", "")))
        path, query_string = split_target(request.raw_path)
        exchange.router = self.routers[tenant.serve_r0]
        exchange.route, path_values = exchange.router.find(request.method, path_segments(path))
        route = exchange.route
        query = query_values(query_string)
        if route.auth in _SERVERS:
            arguments = await self._read_as_server(route, tenant, request, exchange)
        else:
            arguments = await self._read_as_user(route, tenant, request, exchange, query)
        *caller, (body, stream) = arguments
        model = route.reader.read(path_values, query, request.headers, body, stream)
        result = await route.endpoint(tenant.homeserver, *caller, model)
        if is_streamed(result):
            return await respond_in_pieces(result, request, exchange.context.request_id, exchange.route_name)
        return respond(result, exchange.context.request_id)

    async def _read_as_user(
        self, route: Route, tenant: HostedTenant, request: BaseRequest, exchange: Exchange, query: Query
    ) -> tuple[Any, ...]:
        """Who asks, unless the route does not look at it, and the body."""
        exchange.requester = requester = await self._authenticate(route, tenant, request, query)
        tenant.rate_limits.take(
            route.rate_limit or DEFAULT_BUCKET,
            address_key(exchange.context.client_address) if requester is None else requester.user_id,
        )
        data, stream = await self._read_body(route, tenant, request, exchange)
        _take_json(exchange, data)
        body = {} if data is None else decode_object(data, depth_max=self._depth_max(route))
        return ((body, stream),) if route.auth is Auth.NONE else (requester, (body, stream))

    async def _read_as_server(
        self, route: Route, tenant: HostedTenant, request: BaseRequest, exchange: Exchange
    ) -> tuple[Any, ...]:
        """The name of the server that has signed the request, and the body. The address counts towards a limit before
        anything is verified; the origin that the request claims only once it is, else anybody could use up the limit of
        another. Both pay for a body that took long, which nobody knows before."""
        authenticator = tenant.homeserver.server_authenticator
        bucket, address = route.rate_limit or FEDERATION_BUCKET, address_key(exchange.context.client_address)
        tenant.rate_limits.take(bucket, address)
        authorization = request.headers.getall("Authorization", ())
        certificates = self.certificates.of(request, is_proxied=exchange.context.is_proxied)
        is_stranger = not authorization and route.auth is Auth.SERVER_OR_STRANGER and authenticator.admits_strangers
        admitted = None if is_stranger else await authenticator.admit(authorization, certificates)
        data, stream = await self._read_body(route, tenant, request, exchange)
        began_s = thread_time()
        try:
            _take_json(exchange, data)
            body, content = ({}, None) if data is None else decode_signed(data, depth_max=self._depth_max(route))
            if admitted is None:
                return None, (body, stream)
            origin = authenticator.verify(admitted, method=request.method, uri=request.raw_path, content=content)
        finally:
            price = (thread_time() - began_s - FREE_S) / REQUEST_S
            tenant.rate_limits.charge(bucket, address, price)
        exchange.origin = origin
        tenant.rate_limits.take(bucket, origin)
        tenant.rate_limits.charge(bucket, origin, price)
        return origin, (body, stream)

    async def _authenticate(
        self, route: Route, tenant: HostedTenant, request: BaseRequest, query: Query
    ) -> Requester | None:
        """Who asks; raises MissingToken, what the authenticator raises, GuestAccessForbidden or Forbidden."""
        auth = route.auth
        if auth is Auth.NONE:
            return None
        token = _bearer_token(request.headers.get("Authorization"))
        if token is None and tenant.accept_query_tokens:
            token = next(iter(query.get("access_token", ())), None)
        if not token:
            if auth is Auth.OPTIONAL:
                return None
            raise MissingToken()
        requester = await tenant.homeserver.authenticator.requester(token, locked_ok=auth is Auth.LOCKED_OK)
        if requester.is_guest and auth in (Auth.USER, Auth.ADMIN):
            raise GuestAccessForbidden()
        if auth is Auth.ADMIN and not requester.is_admin:
            raise Forbidden("This is for administrators of the server")
        return requester

    async def _read_body(
        self, route: Route, tenant: HostedTenant, request: BaseRequest, exchange: Exchange
    ) -> tuple[bytes | None, BodyStream | None]:
        """The bytes of a body that should be JSON, or one that the endpoint reads."""
        reader = route.reader
        size_bytes_max = route.body_size_max_of(tenant.homeserver) or self.limits.body_size_bytes_max
        timeout_seconds = self.limits.body_timeout_seconds
        if reader.stream_key is not None:
            stream = BodyStream(request, size_bytes_max=size_bytes_max, chunk_timeout_seconds=timeout_seconds)
            return None, stream
        if not request.body_exists and not reader.is_body_required:
            return None, None
        exchange.share = share = self.memory.share(address_key(exchange.context.client_address))
        data = await read_body(request, share, size_bytes_max=size_bytes_max, timeout_seconds=timeout_seconds)
        if not reader.has_json_body:
            return None, None
        if not data and reader.is_body_required:
            raise NotJson("The request has no body")
        return data or b"{}", None

    def _depth_max(self, route: Route) -> int | None:
        return None if route.deep_json_ok else self.limits.json_depth_max


def _take_json(exchange: Exchange, data: bytes | None) -> None:
    """Count what a body is about to take, too."""
    if data is not None and exchange.share is not None:
        exchange.share.take_json(data)


def _allowed_methods(error: MatrixError, router: Router | None, request: BaseRequest) -> dict[str, str] | None:
    if router is None or not isinstance(error, MethodNotAllowed):
        return None
    methods = router.methods(path_segments(split_target(request.raw_path)[0]))
    return {"Allow": ", ".join((*methods, "OPTIONS"))}


def _bearer_token(header: str | None) -> str | None:
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
