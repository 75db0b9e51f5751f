"""A route: method, path template, endpoint, and what the edge must check before the endpoint runs.

A worked example, which is also all that an endpoint's module needs:

    class GetRoomStateWithKeyRequest(RequestModel):
        room_id: InPath[RoomId]
        event_type: InPath[str]
        state_key: InPath[str] = ""     # may be left out at the end of the path, with or without the slash before it

    async def get_room_state_with_key(
        server: Homeserver, requester: Requester, request: GetRoomStateWithKeyRequest
    ) -> RawJson:
        '''`GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}` …'''
        event = await server.room_state.get(requester, request.room_id, request.event_type, request.state_key)
        return RawJson(event.content_json)

    ROUTES = (
        Route("GET", "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", get_room_state_with_key),
    )

An endpoint takes `(server, requester, request)`; with `Auth.NONE` it takes `(server, request)`; with `Auth.OPTIONAL`
the requester may be None; with `Auth.SERVER` it takes `(server, origin, request)`, the name of the server that asks,
which with `Auth.SERVER_OR_STRANGER` may be None.
Its last parameter's annotation names the request model. It returns a `ResponseModel`,
`RawJson`, `Binary`, `Redirect`, or one of them in `WithStatus`; it raises `MatrixError`s.
`tim_server.web.context.current_request()` tells an endpoint the client's address, its user agent and the request id.
"""

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tim_server.web.read_request import RequestReader
from tim_server.web.request_model import RequestModel

Endpoint = Callable[..., Awaitable[Any]]

_PARAMETER = re.compile(r"\{([A-Za-z0-9_]+)\}")


class Auth(Enum):
    """Who may call a route."""

    NONE = "none"
    """Anyone; a token is not looked at."""
    OPTIONAL = "optional"
    """Anyone; a token, where there is one, must be valid."""
    USER = "user"
    """Accounts, but not guests."""
    GUEST_OK = "guest ok"
    """Accounts and guests."""
    LOCKED_OK = "locked ok"
    """Accounts and guests, also while they are locked: only logging out."""
    ADMIN = "admin"
    """Administrators of the server."""
    SERVER = "server"
    """Other homeservers, by a signed request; the endpoint gets the origin's name instead of a requester."""
    SERVER_OR_STRANGER = "server or stranger"
    """The same, and where any server may be talked to also whoever does not say who it is."""


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of an API. Raises TypeError or ValueError where path, endpoint and request model do not fit.

    `rate_limit` names the bucket; None means the bucket "default". `body_size_max_bytes` None means the listener's
    limit; a function gives that of a homeserver. `deep_json_ok`: how deep the body is nested is not looked at, as what
    it holds is judged one by one. A path that ends in a slash is also served without it.
    """

    method: str
    path: str
    endpoint: Endpoint
    auth: Auth = Auth.USER
    rate_limit: str | None = None
    body_size_max_bytes: int | Callable[[Any], int] | None = None
    deep_json_ok: bool = False
    reader: RequestReader = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read the endpoint's signature and hold it against the path."""
        if not self.path.startswith("/"):
            raise ValueError(f"the path must start with a slash: {self.path!r}")
        reader = RequestReader.of(_request_model(self.endpoint))
        if set(self.parameters) != set(reader.path_keys):
            raise TypeError(
                f"{self.method} {self.path}: the path has {sorted(self.parameters)}, "
                f"{reader.model.__name__} has {sorted(reader.path_keys)}"
            )
        parameter_count = 2 if self.auth is Auth.NONE else 3
        if len(inspect.signature(self.endpoint).parameters) != parameter_count:
            raise TypeError(f"{self.method} {self.path}: the endpoint must take {parameter_count} parameters")
        object.__setattr__(self, "reader", reader)

    def body_size_max_of(self, homeserver: Any) -> int | None:
        """How large a body may be that is sent to this homeserver."""
        limit = self.body_size_max_bytes
        return limit(homeserver) if callable(limit) else limit

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters, in order."""
        return tuple(_PARAMETER.findall(self.path))

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's segments; a trailing slash gives an empty last one."""
        return tuple(self.path[1:].split("/"))


def _request_model(endpoint: Endpoint) -> type[RequestModel]:
    """The annotation of the endpoint's last parameter."""
    *_, last = inspect.signature(endpoint).parameters.values()
    annotation = last.annotation
    if isinstance(annotation, str):
        annotation = getattr(endpoint, "__globals__", {}).get(annotation)
    if not (isinstance(annotation, type) and issubclass(annotation, RequestModel)):
        raise TypeError(f"{endpoint!r}: annotate the last parameter with its request model")
    return annotation
