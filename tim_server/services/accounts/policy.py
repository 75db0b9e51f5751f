"""What the operator decides about accounts. Plain records: the configuration is turned into them by the composition
root."""

from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], int]
"""The time in milliseconds since 1970."""

Randomness = Callable[[int], bytes]
"""So many unpredictable bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationPolicy:
    """Who may register. Closed unless enabled; `requires_token` asks for a registration token. `guests_allowed` lets
    anybody in as a guest."""

    enabled: bool = False
    requires_token: bool = False
    guests_allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordPolicy:
    """Which passwords are taken, and what hashing one costs (argon2id).

    At most `concurrency_max` passwords are hashed at once, each in `memory_kib`; `waiting_max` more may wait.
    """

    length_min: int = 8
    size_bytes_max: int = 512
    memory_kib: int = 19_456
    time_cost: int = 2
    parallelism: int = 1
    concurrency_max: int = 2
    waiting_max: int = 200
    change_allowed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPolicy:
    """How many wrong passwords an account takes within a window before it is refused for the rest of the window."""

    failures_max: int = 10
    window_ms: int = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPolicy:
    """How long tokens live (None: until logout), and what is kept of them.

    `lifetime_ms` is for clients that do not refresh; `refreshable_lifetime_ms` for those that do.
    """

    lifetime_ms: int | None = None
    refreshable_lifetime_ms: int = 300_000
    refresh_token_lifetime_ms: int | None = None
    devices_per_user_max: int = 200
    cache_entries_max: int = 20_000
    cache_lifetime_ms: int = 600_000
    seen_interval_ms: int = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UiaPolicy:
    """How long a session of user-interactive authentication lives."""

    session_lifetime_ms: int = 3_600_000
