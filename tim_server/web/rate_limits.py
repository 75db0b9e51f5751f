"""Token buckets: how often an account, or a client address, may call the routes of a named bucket.

Memory is bounded: the buckets that were used least recently are forgotten, which fills them again.

Spec: https://spec.matrix.org/v1.19/client-server-api/#rate-limiting
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from time import monotonic

from tim_server.matrix.errors import LimitExceeded

DEFAULT_BUCKET = "default"
FEDERATION_BUCKET = "federation"
"""The bucket of other servers, for routes without one of their own."""
BUCKETS_MAX = 100_000

_IPV6_SITE_BITS = 64  # a client has at least so many addresses of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """`burst` requests at once, and `per_second` of them in the long run."""

    per_second: float
    burst: int


class RateLimits:
    """The buckets of one homeserver in this process. With several workers each one grants its share of a limit.

    `limits` maps names of buckets to their limit; an absent or None limit means that the bucket is not limited.
    `exempt` are accounts without limits.
    """

    __slots__ = ("_buckets", "_buckets_max", "_exempt", "_limits", "_now", "names")

    def __init__(
        self,
        limits: Mapping[str, RateLimit | None],
        *,
        exempt: Collection[str] = (),
        worker_count: int = 1,
        buckets_max: int = BUCKETS_MAX,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.names = frozenset(limits)
        """The buckets that `limits` names."""
        self._exempt = frozenset(exempt)
        self._limits = {name: _share(limit, worker_count) for name, limit in limits.items() if limit is not None}
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._buckets_max = buckets_max
        self._now = now

    def take(self, bucket: str, key: str) -> None:
        """Take one token of `key` (an account or an address); raises LimitExceeded where there is none.

        A refused request costs nothing, so that waiting as long as the error says is enough.
        """
        limit = self._limits.get(bucket)
        if limit is None or key in self._exempt:
            return
        tokens = self._spend(limit, bucket, key, 1.0)
        if tokens < 0.0:
            raise LimitExceeded(retry_after_ms=max(1, round(-tokens / limit.per_second * 1000)))

    def charge(self, bucket: str, key: str, tokens: float) -> None:
        """Take more tokens of `key`, for what a granted request has turned out to cost; those that there are not it
        owes."""
        limit = self._limits.get(bucket)
        if limit is not None and key not in self._exempt and tokens > 0.0:
            self._spend(limit, bucket, key, tokens, owing_ok=True)

    def _spend(self, limit: RateLimit, bucket: str, key: str, count: float, *, owing_ok: bool = False) -> float:
        """The tokens that are left; a negative number is what is missing, where they were not taken."""
        now = self._now()
        name = (bucket, key)
        tokens, updated = self._buckets.get(name, (float(limit.burst), now))
        tokens = min(float(limit.burst), tokens + (now - updated) * limit.per_second)
        left = tokens - count
        self._buckets[name] = (left if left >= 0.0 or owing_ok else tokens, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._buckets_max:
            self._buckets.popitem(last=False)
        return left

    def __len__(self) -> int:
        """How many buckets are remembered."""
        return len(self._buckets)


def address_key(address: str) -> str:
    """Whom an address stands for: itself, or the IPv6 network of one client, within which it may take any address."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, _IPV6_SITE_BITS), strict=False))


def _share(limit: RateLimit, worker_count: int) -> RateLimit:
    return RateLimit(per_second=limit.per_second / worker_count, burst=max(1, round(limit.burst / worker_count)))
