"""The budget of all caches is split as the shares say."""

from tim_server.app.cache_budget import PARSED_EVENTS, SHARES, CacheBudget, cache_budget
from tim_server.config.limits import LimitSettings


def test_the_shares_are_the_whole() -> None:
    assert sum(share.percent for share in SHARES) == 100


def test_the_caches_take_the_budget_and_no_more() -> None:
    budget = CacheBudget(bytes_max=100_000_000)
    taken = sum(budget.entries_max(share) * share.entry_bytes for share in SHARES)
    assert 99_000_000 < taken <= 100_000_000


def test_homeservers_of_one_process_share_it() -> None:
    assert cache_budget(100_000_000, homeserver_count=4) == CacheBudget(bytes_max=25_000_000)


def test_a_cache_holds_one_entry_however_small_the_budget() -> None:
    assert CacheBudget(bytes_max=1).entries_max(PARSED_EVENTS) == 1


def test_the_default_is_that_of_the_configuration() -> None:
    assert CacheBudget().bytes_max == LimitSettings().cache_bytes_max
