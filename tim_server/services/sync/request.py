"""What a client asks of `/sync`, and the bounds of what it gets.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
"""

import asyncio
from dataclasses import dataclass

from tim_server.matrix.filters import Filter
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.presence import ONLINE
from tim_server.services.sync.tokens import SyncToken
from tim_server.storage.to_device import MessagePlace

STATE = ("state",)
STATE_AFTER = "state_after"
UNSTABLE_STATE_AFTER = "org.matrix.msc4222.state_after"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """The parameters as they were given. `filter` is an id, or a definition as JSON; `stopping` is set when the server
    stops. `state_after` are the keys under which the state at the end of the timeline is wanted, if it is.
    `set_presence` is what the device says of its user. Without `to_device`, messages to the device stay where they
    are."""

    since: SyncToken | None = None
    filter: str | None = None
    full_state: bool = False
    timeout_ms: int = 0
    state_after: tuple[str, ...] = ()
    set_presence: str = ONLINE
    to_device: bool = True
    stopping: asyncio.Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """Bounds of answers, of waiting, and of first answers: how many are in the making, and worked on at once."""

    timeline_limit_default: int = 10
    timeline_limit_max: int = 500
    timeout_ms_max: int = 300_000
    waiting_per_user_max: int = 50
    first_answers_max: int = 500
    first_answers_at_once: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one answer is made for: who reads, with which filter, since which position (None: from the start).
    `to_device_since`: up to where the device has its messages, where that is not the position too;
    `wants_to_device`: whether it is to be given more, and what it has be removed.
    `ignored` are the users whom the reader ignores, as far as the database was asked for them."""

    user_id: UserId
    device_id: str | None
    filter: Filter
    since: int | None
    to_device_since: MessagePlace | None
    full_state: bool
    state_keys: tuple[str, ...]
    timeline_limit: int
    wants_to_device: bool = True
    ignored: frozenset[str] = frozenset()

    @property
    def wants_state_after(self) -> bool:
        """Whether state is wanted as it is at the end of the timeline, not at its start."""
        return self.state_keys != STATE

    @property
    def is_lazy(self) -> bool:
        """Whether members are loaded lazily."""
        return self.filter.room.state.lazy_load_members
