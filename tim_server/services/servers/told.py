"""What a client is told where another server that was asked for something gave no answer, or an error."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tim_server.egress.errors import ContactRefused, OutgoingError
from tim_server.federation.errors import RemoteError
from tim_server.matrix.errors import Forbidden, NotFound
from tim_server.matrix.federation_errors import BadGateway


@asynccontextmanager
async def errors_told(what: str) -> AsyncIterator[None]:
    """Turn errors of asking another server into a client's: `NotFound` and `Forbidden` as the other server says, or the
    trust gate; `BadGateway` for all else. `what` is looked for, as in "There is no such …"."""
    try:
        yield
    except ContactRefused:
        raise Forbidden("The other server is not part of the federation of this server") from None
    except OutgoingError:
        raise BadGateway("The other server can't be reached") from None
    except RemoteError as error:
        if error.status == 404:
            raise NotFound(f"There is no such {what}") from None
        if error.status == 403:
            raise Forbidden("The other server refuses to tell") from None
        raise BadGateway("The other server does not answer as it should") from None
