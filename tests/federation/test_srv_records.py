"""The order of SRV records."""

import pytest

from tim_server.federation.srv_records import SrvRecord, in_order


def record(priority: int, target: str, weight: int = 1, port: int = 8448) -> SrvRecord:
    return SrvRecord(priority=priority, weight=weight, port=port, target=target)


def test_the_lowest_priority_comes_first_and_weight_decides_how_often() -> None:
    records = [record(2, "c"), record(1, "a", 0), record(1, "b", 5)]
    orders = ["".join(each.target for each in in_order(records)) for _ in range(200)]
    assert set(orders) <= {"abc", "bac"} and orders.count("bac") > 100
    alike = [in_order([record(1, "a", 3), record(1, "b", 1)])[0].target for _ in range(2_000)]
    assert 1_350 < alike.count("a") < 1_650


@pytest.mark.parametrize("target", ["", ".", "a/b", "user@a.example", "a:1", "a b", "-a", "a..b", "ä.example", "a?b#c"])
def test_what_is_no_host_is_left_out(target: str) -> None:
    assert in_order([record(1, target), record(1, "a.example", port=0)]) == ()
    assert [each.target for each in in_order([record(1, target), record(2, "c")])] == ["c"]
