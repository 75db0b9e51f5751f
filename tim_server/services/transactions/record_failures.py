"""That sending to a server fails, or works again: recorded, and told to every process, since any of them may be the one
that hears from the server."""

from collections.abc import Mapping
from dataclasses import dataclass

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.database import Connection
from tim_server.storage.destinations import FAILING, Failure, put_failure


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFailure:
    """A write: an attempt has failed."""

    destination: ServerName
    failure: Failure
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def servers(self) -> Mapping[ServerName, frozenset[str]]:
        """Others are told of the first failure in a row."""
        return {self.destination: frozenset({FAILING})} if self.failure.failures == 1 else {}

    async def store(self, tx: Connection, position: int) -> None:
        """Record it."""
        await put_failure(tx, self.destination, self.failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class TellOfServer:
    """A write that tells every process something of a server: `WORKING` or `HEARD`."""

    server: ServerName
    stream: str
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def servers(self) -> Mapping[ServerName, frozenset[str]]:
        """What it tells."""
        return {self.server: frozenset({self.stream})}

    async def store(self, tx: Connection, position: int) -> None:
        """Nothing but the commit's own row."""
