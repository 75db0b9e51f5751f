"""What is remembered of a server: the events that wait for it, and what sources of EDUs may owe it."""

import orjson

from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.destination import (
    EVENTS_REMEMBERED_MAX,
    ROOMS_TOUCHED_MAX,
    Destination,
    Touched,
    WaitingEvents,
)
from tim_server.services.transactions.keep_sending import by_destination
from tim_server.services.transactions.transaction import OwedPdu, Transaction
from tim_server.storage.commit_log import OwedEvent


def owed(*positions: int) -> list[OwedEvent]:
    return [OwedEvent(position, 1_000 + position) for position in positions]


def positions(waiting: WaitingEvents, count: int = 1_000) -> list[int]:
    return [event.position for event in waiting.first(count)]


def transaction(*positions: int, edus: int = 0) -> Transaction:
    return Transaction(
        txn_id="id",
        origin=ServerName("a.example"),
        ts=1,
        pdus=[OwedPdu(nid=1_000 + position, position=position, body=b"%d" % position) for position in positions],
        edus=[b"{}"] * edus,
        up_to=positions[-1] if positions else None,
        cursors={"typing": 7},
    )


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
    destination.give_back(transaction(1, 2), hold=True)
    assert destination.held is not None and positions(destination.waiting) == [1, 2]
    destination.give_back(transaction(1, 2), hold=False)
    assert destination.held is None and destination.asks_all and destination.waiting.is_behind


def test_what_is_not_taken_comes_in_halves_until_one_thing_is_left() -> None:
    destination = Destination(name=ServerName("b.example"))
    destination.waiting.append(owed(1, 2))
    destination.take_apart(transaction(1, 2, edus=1))
    both, edu = destination.parts
    assert [len(part.pdus) for part in (both, edu)] == [2, 0] and (edu.up_to, both.cursors) == (None, {})
    assert destination.pending is both
    destination.take_apart(both)
    assert [part.up_to for part in destination.parts] == [1, 2, None]
    assert destination.acknowledge(destination.parts[0]) == 1
    assert destination.pending is destination.parts[0] and positions(destination.waiting) == [2]
    destination.take_apart(destination.parts[0])
    probe = destination.pending
    assert destination.refused is destination.parts[0] and probe is not None and probe.is_empty
    assert len({"id", destination.txn_id, probe.txn_id, *(part.txn_id for part in destination.parts)}) == 5
    destination.give_back(probe, hold=False)
    assert destination.pending is destination.refused is None and not destination.parts and destination.cursors == {}


def test_halves_hold_the_same_and_the_last_tells_of_everything() -> None:
    whole, parts = transaction(*range(1, 8), edus=5), list[Transaction]()
    left = [whole]
    while left:
        halves = (part := left.pop(0)).halves()
        left[:0] = halves or ()
        parts += [] if halves else [part]
    assert [pdu for part in parts for pdu in part.pdus] == whole.pdus
    assert [edu for part in parts for edu in part.edus] == whole.edus
    assert [part.cursors for part in parts] == [{}] * 11 + [{"typing": 7}]
    assert [part.up_to for part in parts] == [*range(1, 8), *[None] * 5]
    assert orjson.loads(parts[0].body) == {"origin": "a.example", "origin_server_ts": 1, "pdus": [1], "edus": []}
