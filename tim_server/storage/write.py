"""What the writer takes beside the commits of rooms: small writes of any table."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection

T_co = TypeVar("T_co", covariant=True)


class Write(Protocol[T_co]):
    """A small write: joins the next group commit. `users` are those whose `streams` it touches."""

    @property
    def users(self) -> tuple[UserId, ...]:
        """Users whose sync or caches the write concerns."""

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams touched, such as `account_data` or `tokens`."""

    async def store(self, tx: Connection, position: int) -> T_co:
        """Write the rows, stamped with `position`; may raise a `MatrixError`, which fails this write alone."""


@runtime_checkable
class TouchesServers(Protocol):
    """A small write that touches streams of other servers; asked once it is stored."""

    @property
    def servers(self) -> Mapping[ServerName, frozenset[str]]:
        """Names of the streams touched, by server."""


@runtime_checkable
class TellsFacts(Protocol):
    """A small write that leaves facts of rooms in the commit log; asked once it is stored."""

    @property
    def facts(self) -> Sequence[Fact]:
        """What happened in rooms."""


@runtime_checkable
class ResetsRooms(Protocol):
    """A small write after which what is remembered of rooms no longer holds; asked once it is stored."""

    @property
    def resets(self) -> Sequence[int]:
        """Nids of the rooms."""
