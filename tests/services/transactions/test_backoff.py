"""When a server is tried again."""

import pytest

from tim_server.egress.errors import ContactRefused, OutgoingError, RemoteUnreachable, ResponseRefused
from tim_server.federation.errors import RemoteError
from tim_server.services.transactions.backoff import DELAY_S_MAX, Problem, delay_s, problem_of

AWAY = Problem(outcome="unreachable", text="away")


def test_pauses_double_from_a_second_to_an_hour() -> None:
    middle = [delay_s(failures, AWAY, 0.5) for failures in range(1, 15)]
    assert middle[:5] == [1, 2, 4, 8, 16]
    assert middle[-1] == delay_s(10_000, AWAY, 0.5) == DELAY_S_MAX


def test_chance_spreads_them() -> None:
    assert delay_s(3, AWAY, 0.0) == 3.0
    assert delay_s(3, AWAY, 1.0) == 5.0


def test_what_the_server_asks_for_counts_up_to_an_hour() -> None:
    asked = Problem(outcome="status_4xx", text="", retry_after_s=30)
    assert delay_s(1, asked, 0.5) == 30
    assert delay_s(7, asked, 0.5) == 64
    assert delay_s(1, Problem(outcome="status_4xx", text="", retry_after_s=10**9), 0.5) == DELAY_S_MAX


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_will_never_be_taken_is_final(status: int) -> None:
    assert problem_of(RemoteError.of("b.example", status, None)).is_final


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 405, 429, 500, 503])
def test_what_may_be_taken_another_time_is_not(status: int) -> None:
    problem = problem_of(RemoteError.of("b.example", status, {"errcode": "M_UNRECOGNIZED"}))
    assert not problem.is_final and problem.may_have_arrived


@pytest.mark.parametrize(
    ("error", "outcome", "may_have_arrived", "waits_s"),
    [
        (RemoteUnreachable("b.example did not answer in time"), "unreachable", True, 0.0),
        (ResponseRefused("b.example answers with more than 9 bytes"), "malformed", True, 0.0),
        (ContactRefused("b.example is not listed"), "refused", False, DELAY_S_MAX),
        (RemoteError.malformed("b.example", "not a JSON object"), "malformed", True, 0.0),
        (RemoteError.of("b.example", 502, None), "status_5xx", True, 0.0),
        (RemoteError.of("b.example", 429, {"retry_after_ms": 2_500}), "status_4xx", True, 2.5),
        (RemoteError.of("b.example", 413, None), "status_4xx", False, 0.0),
    ],
)
def test_problems(error: OutgoingError | RemoteError, outcome: str, may_have_arrived: bool, waits_s: float) -> None:
    problem = problem_of(error)
    assert (problem.outcome, problem.may_have_arrived, problem.retry_after_s) == (outcome, may_have_arrived, waits_s)
    assert "b.example" in problem.text or problem.text.startswith("answers")
