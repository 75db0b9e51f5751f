"""What is remembered of a server: the events that wait for it, and what sources of EDUs may owe it."""

from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.backoff import Problem
from tim_server.services.transactions.destination import (
    EVENTS_REMEMBERED_MAX,
    ROOMS_TOUCHED_MAX,
    Destination,
    Touched,
    Transaction,
    WaitingEvents,
)
from tim_server.services.transactions.keep_sending import by_destination
from tim_server.storage.commit_log import OwedEvent


def owed(*positions: int) -> list[OwedEvent]:
    return [OwedEvent(position, 1_000 + position) for position in positions]


def positions(waiting: WaitingEvents, count: int = 1_000) -> list[int]:
    return [event.position for event in waiting.first(count)]


def transaction(up_to: int | None = None, edus: int = 0) -> Transaction:
    return Transaction(txn_id="id", body=b"{}", up_to=up_to, events=20, edus=edus, cursors={"typing": 7})


def test_events_are_remembered_in_order_and_dropped_once_the_server_has_them() -> None:
    waiting = WaitingEvents()
    waiting.append(owed(1, 2))
    waiting.append(owed(5))
    assert positions(waiting) == [1, 2, 5]
    assert waiting.drop(2) == 2
    assert positions(waiting) == [5]


def test_each_server_is_owed_the_events_of_a_commit_in_order() -> None:
    b, c = ServerName("b.example"), ServerName("c.example")
    commit = {(b,): owed(1, 4), (b, c): owed(2, 5), (c,): owed(3)}
    assert by_destination(commit) == {b: owed(1, 2, 4, 5), c: owed(2, 3, 5)}


def test_what_is_told_again_is_not_remembered_again() -> None:
    waiting = WaitingEvents()
    waiting.append(owed(1, 2))
    waiting.append(owed(2, 3))
    assert positions(waiting) == [1, 2, 3]
    waiting.drop(3)
    waiting.append(owed(3))
    assert positions(waiting) == []


def test_beyond_the_bound_the_outbox_is_read() -> None:
    waiting = WaitingEvents()
    waiting.append(owed(*range(1, EVENTS_REMEMBERED_MAX + 10)))
    assert len(waiting.events) == EVENTS_REMEMBERED_MAX and waiting.is_behind
    waiting.append(owed(EVENTS_REMEMBERED_MAX + 20))
    assert len(waiting.events) == EVENTS_REMEMBERED_MAX
    waiting.drop(EVENTS_REMEMBERED_MAX)
    waiting.begin_read()
    waiting.end_read(owed(EVENTS_REMEMBERED_MAX + 1, EVENTS_REMEMBERED_MAX + 20), is_all=True)
    assert positions(waiting) == [EVENTS_REMEMBERED_MAX + 1, EVENTS_REMEMBERED_MAX + 20] and not waiting.is_behind
    waiting.append(owed(EVENTS_REMEMBERED_MAX + 30))
    assert len(waiting.events) == 3


def test_what_is_committed_while_the_outbox_is_read_is_read_next() -> None:
    waiting = WaitingEvents(is_behind=True)
    waiting.begin_read()
    waiting.append(owed(9))  # perhaps after the moment that is read
    waiting.end_read(owed(1, 2), is_all=True)
    assert waiting.is_behind
    waiting.begin_read()
    waiting.end_read(owed(9), is_all=True)
    assert positions(waiting) == [1, 2, 9] and not waiting.is_behind


def test_what_is_forgotten_while_the_outbox_is_read_is_read_again() -> None:
    waiting = WaitingEvents()
    waiting.append(owed(1, 2, 3))
    waiting.is_behind = True
    waiting.begin_read()
    waiting.forget()
    waiting.end_read(owed(4), is_all=True)
    assert positions(waiting) == [] and waiting.is_behind
    waiting.begin_read()
    waiting.end_read(owed(3, 4), is_all=True)
    assert positions(waiting) == [3, 4] and not waiting.is_behind


def test_what_was_acknowledged_is_not_read_again_though_the_rows_are_still_there() -> None:
    waiting = WaitingEvents()
    waiting.append(owed(1, 2, 3))
    waiting.forget()
    assert positions(waiting) == [] and waiting.is_behind
    waiting.drop(3)
    assert waiting.newest == 3


def test_marks_of_one_source_are_one() -> None:
    destination = Destination(name=ServerName("b.example"))
    destination.touch("receipts", 9, room=1)
    destination.touch("receipts", 7, room=2)
    destination.touch("receipts", 8, room=3, whole=True)
    destination.touch("to_device", 9)
    assert destination.touched == {"receipts": Touched(7, {1, 2}, {3}), "to_device": Touched(9, set())}
    assert destination.is_owed


def test_in_too_many_rooms_it_is_not_known_where() -> None:
    destination = Destination(name=ServerName("b.example"))
    for room in range(ROOMS_TOUCHED_MAX + 1):
        destination.touch("receipts", 1, room=room)
    assert destination.touched["receipts"].rooms is None
    destination.touch("receipts", 0, room=1)
    assert destination.touched["receipts"].rooms is None


def test_what_was_not_asked_for_is_put_back_beside_what_came_meanwhile() -> None:
    destination = Destination(name=ServerName("b.example"))
    destination.touch("receipts", 9, room=1)
    destination.put_back("receipts", Touched(5, {2}, {3}))
    assert destination.touched["receipts"] == Touched(5, {1, 2}, {3})
    destination.put_back("receipts", Touched(0))
    assert destination.touched["receipts"].rooms is None


def test_a_transaction_that_may_have_arrived_is_held_and_others_are_put_together_anew() -> None:
    destination = Destination(name=ServerName("b.example"))
    destination.waiting.append(owed(1, 2))
    maybe = Problem(outcome="unreachable", text="no answer")
    destination.give_back(transaction(up_to=2), maybe, hold=True)
    assert destination.held is not None and positions(destination.waiting) == [1, 2]
    destination.give_back(transaction(up_to=2), maybe, hold=False)
    assert destination.held is None and destination.asks_all and destination.waiting.is_behind


def test_after_one_that_was_too_large_fewer_events_go_together() -> None:
    destination = Destination(name=ServerName("b.example"))
    too_large = Problem(outcome="status_4xx", text="413", may_have_arrived=False, is_too_large=True)
    destination.give_back(transaction(up_to=2), too_large, hold=False)
    assert destination.pdus_max == 10
    destination.acknowledge(transaction(up_to=2))
    assert destination.pdus_max == 50 and destination.cursors == {"typing": 7} and destination.txn_id == "id"
