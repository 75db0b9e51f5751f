"""Token buckets grant bursts, refill with time, and forget the least recently used."""

import pytest

from tim_server.matrix.errors import LimitExceeded
from tim_server.web.rate_limits import RateLimit, RateLimits, address_key


class Clock:
    def __init__(self):
        self.time = 100.0

    def __call__(self):
        return self.time


def granted(limits, count, key="@a:b", bucket="send"):
    taken = 0
    for _ in range(count):
        try:
            limits.take(bucket, key)
        except LimitExceeded:
            continue
        taken += 1
    return taken


def make(clock, per_second=2.0, burst=10, **options):
    return RateLimits({"send": RateLimit(per_second=per_second, burst=burst)}, now=clock, **options)


def test_a_burst_is_granted_and_then_the_rate():
    clock = Clock()
    limits = make(clock)
    assert granted(limits, 20) == 10
    clock.time += 3
    assert granted(limits, 20) == 6
    clock.time += 3600
    assert granted(limits, 20) == 10


def test_the_error_says_when_to_come_back_and_that_is_enough():
    clock = Clock()
    limits = make(clock, per_second=0.5, burst=1)
    limits.take("send", "a")
    with pytest.raises(LimitExceeded) as caught:
        limits.take("send", "a")
    assert caught.value.extra == {"retry_after_ms": 2000}
    clock.time += 2
    limits.take("send", "a")


def test_what_turns_out_to_cost_more_is_owed():
    clock = Clock()
    limits = make(clock)
    limits.take("send", "@a:b")
    limits.charge("send", "@a:b", 14.0)
    with pytest.raises(LimitExceeded) as caught:
        limits.take("send", "@a:b")
    assert caught.value.extra == {"retry_after_ms": 3000}
    clock.time += 3
    assert granted(limits, 20) == 1
    limits.charge("send", "@a:b", -5.0)
    assert granted(limits, 20) == 0
    assert granted(limits, 20, key="@c:b") == 10


def test_accounts_and_buckets_do_not_share():
    limits = make(Clock())
    assert granted(limits, 20, key="@a:b") == 10
    assert granted(limits, 20, key="@c:b") == 10


def test_a_bucket_without_a_limit_is_not_limited():
    limits = RateLimits({"send": None})
    assert granted(limits, 1000) == 1000
    assert granted(limits, 1000, bucket="other") == 1000


def test_each_of_several_workers_grants_its_share():
    assert granted(make(Clock(), worker_count=4, burst=10), 20) == 2
    assert granted(make(Clock(), worker_count=40, burst=10), 20) == 1


def test_memory_is_bounded_and_the_least_recently_used_goes_first():
    limits = make(Clock(), burst=1, buckets_max=3)
    for key in ("a", "b", "c"):
        assert granted(limits, 1, key=key) == 1
    assert granted(limits, 1, key="a") == 0  # used again, so b is the oldest now
    assert granted(limits, 1, key="d") == 1
    assert len(limits) == 3
    assert granted(limits, 1, key="a") == 0
    assert granted(limits, 1, key="b") == 1


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
    ],
)
def test_all_addresses_of_an_ipv6_network_share_a_bucket(address, key):
    assert address_key(address) == key
