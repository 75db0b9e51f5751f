"""Pauses of servers that can't be reached."""

from tim_server.federation.server_health import SERVERS_MAX, ServerHealth

NAME = "b.example"


def test_pauses_double_up_to_two_minutes_and_end_when_the_server_is_heard() -> None:
    now = [0.0]
    health = ServerHealth(now_s=lambda: now[0])
    pauses = []
    for _ in range(9):
        health.failed(NAME)
        began = now[0]
        while health.is_backed_off(NAME):
            now[0] += 0.5
        pauses.append(now[0] - began)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 120, 120]
    health.failed(NAME)
    health.heard_from("B.example")
    assert not health.is_backed_off(NAME)
    health.failed(NAME)
    now[0] += 1
    assert not health.is_backed_off(NAME)


def test_requests_that_fail_together_count_once() -> None:
    now = [0.0]
    health = ServerHealth(now_s=lambda: now[0])
    for _ in range(50):
        health.failed(NAME)
    now[0] += 1
    assert not health.is_backed_off(NAME)


def test_a_server_is_left_alone_as_long_as_it_asks_for_within_bounds() -> None:
    now = [0.0]
    health = ServerHealth(now_s=lambda: now[0])
    health.failed(NAME)
    health.failed(NAME, retry_after_ms=30_000)
    now[0] += 29
    assert health.is_backed_off(NAME)
    now[0] += 2
    health.failed(NAME, retry_after_ms=10**9)
    now[0] += 121
    assert not health.is_backed_off(NAME)


def test_servers_are_remembered_up_to_a_limit() -> None:
    health = ServerHealth(now_s=lambda: 0.0)
    for number in range(SERVERS_MAX + 1):
        health.failed(f"{number}.example")
    assert not health.is_backed_off("0.example") and health.is_backed_off("1.example")
