"""Asking several servers for the same, one after the other, until one helps.

Which error a user is told matters: that the room is closed to them says more than that the next server was down.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from tim_server.egress.errors import ContactRefused, OutgoingError
from tim_server.federation.errors import RemoteError
from tim_server.matrix.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    MatrixError,
    NotFound,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
)
from tim_server.matrix.federation_errors import BadGateway, RefusedElsewhere
from tim_server.matrix.identifiers import ServerName

T = TypeVar("T")

_PASSED_ON: dict[str, type[MatrixError]] = {
    "M_UNABLE_TO_AUTHORISE_JOIN": UnableToAuthoriseJoin,
    "M_UNABLE_TO_GRANT_JOIN": UnableToGrantJoin,
}
_NOT_PASSED_ON = re.compile(
    r"M_(UNKNOWN|UNKNOWN_TOKEN|MISSING_TOKEN|UNAUTHORIZED|USER_[A-Z]+|CONSENT_NOT_GIVEN|LIMIT_EXCEEDED"
    r"|RESOURCE_LIMIT_EXCEEDED|UNRECOGNIZED|MISSING_PARAM|INVALID_PARAM|BAD_JSON|NOT_JSON|TOO_LARGE)"
)
"""What would tell clients of their own session or request, which no other server may; and what this one did wrong."""
_PLAIN = re.compile(r"[A-Za-z0-9_.]{1,100}")
_TELLING = (
    BadGateway,
    NotFound,
    IncompatibleRoomVersion,
    RefusedElsewhere,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
    Forbidden,
)
"""Errors that asking may end with, the most telling last."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingBounds:
    """How many servers are asked, how often one may forbid what is asked for, and how long all of it may take."""

    servers_max: int = 10
    refusals_max: int = 3
    timeout_s: float = 600.0


async def ask_in_turn(
    servers: Sequence[ServerName], ask: Callable[[ServerName], Awaitable[T]], bounds: AskingBounds
) -> tuple[ServerName, T]:
    """The first answer, and whose it is. Raises the most telling `MatrixError` of those that the servers' errors mean:
    `NotFound` where there is nobody to ask, `BadGateway` where nobody answered.

    `ask` may raise `RemoteError`, what `egress` raises, and a `MatrixError` where going on makes no sense.
    """
    told: list[MatrixError] = []
    deadline = asyncio.get_running_loop().time() + bounds.timeout_s
    for server in servers[: bounds.servers_max]:
        try:
            async with asyncio.timeout_at(deadline):
                return server, await ask(server)
        except TimeoutError:
            told.append(BadGateway("No server that is in the room answered in time"))
            break
        except (RemoteError, OutgoingError) as error:
            log.info("another server did not help", server=server, error=type(error).__name__, reason=_reason(error))
            told.append(meaning_of(error))
        if sum(isinstance(error, Forbidden) for error in told) >= bounds.refusals_max:
            break
    if not told:
        raise NotFound("No server is known that is in this room")
    raise max(told, key=lambda error: _TELLING.index(type(error)))


def meaning_of(error: RemoteError | OutgoingError) -> MatrixError:
    """What a client is told of another server's error."""
    if isinstance(error, ContactRefused):
        return Forbidden("The server that is in the room is not part of the federation of this server")
    if not isinstance(error, RemoteError):
        return BadGateway("No server that is in the room could be reached")
    if error.status == 400:
        return _meaning_of_refusal(error)
    if error.status == 403:
        return Forbidden(error.message)
    if error.status == 404:
        return NotFound("The server that was asked is not in the room")
    return BadGateway("No server that is in the room could help")


def _meaning_of_refusal(error: RemoteError) -> MatrixError:
    """ "The error should be passed through to clients so that they may give better feedback to users." """
    if error.errcode == "M_INCOMPATIBLE_ROOM_VERSION":
        named = {} if error.room_version is None else {"room_version": error.room_version}
        return IncompatibleRoomVersion(error.message, **named)
    if error.errcode in _PASSED_ON:
        return _PASSED_ON[error.errcode](error.message)
    if _NOT_PASSED_ON.fullmatch(error.errcode) or not _PLAIN.fullmatch(error.errcode):
        return BadGateway("No server that is in the room could help")
    return RefusedElsewhere(error.errcode, error.message)


def _reason(error: RemoteError | OutgoingError) -> str:
    """For the log: of what another server says, its status and errcode only; what is wrong with it is said here."""
    if not isinstance(error, RemoteError):
        return str(error)
    return error.message if error.status == 200 else f"{error.status} {error.errcode}"
