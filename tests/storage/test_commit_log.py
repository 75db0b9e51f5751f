"""The commit log's tail: what is remembered of it."""

from typing import Any

from tim_server.matrix.identifiers import EventId, UserId
from tim_server.storage.commit_log import EVENT_BYTES, CommitEntry, CommitLog, Fact
from tim_server.storage.events import EventRow


def entry(position: int, size_bytes: int) -> CommitEntry:
    """A commit of one event with a body of this size, right after the one before."""
    row = EventRow(
        nid=position,
        room_nid=1,
        position=position,
        minor=0,
        depth=position,
        origin_server_ts=1,
        snapshot=1,
        redacted_by=None,
        replaces=None,
        notify_class=0,
        soft_failed=False,
        event_id=EventId(f"${position}"),
        type="m.room.message",
        state_key=None,
        sender=UserId("@alice:hospital.example"),
        thread_id=None,
        rejected=None,
        prev_nids=(),
        auth_nids=(),
        body=b"x" * size_bytes,
    )
    return CommitEntry(previous=position - 1, position=position, events={1: (row,)})


def remembered(log: CommitLog) -> list[int]:
    """Positions of the entries that are remembered."""
    return [entry.position for entry in log.since(log.oldest_position) or ()]


def test_the_tail_is_bounded_by_the_bytes_of_its_events() -> None:
    log = CommitLog(bytes_max=10 * (EVENT_BYTES + 1_000))
    for position in range(1, 16):
        assert log.append(entry(position, 1_000))
    assert remembered(log) == [*range(6, 16)]
    log.append(entry(16, 5_000))
    assert len(remembered(log)) < 10
    assert remembered(log)[-1] == 16


def test_an_entry_larger_than_the_bound_leaves_an_empty_tail_that_goes_on() -> None:
    log = CommitLog(bytes_max=4 * (EVENT_BYTES + 100))
    for position, size_bytes in ((1, 100), (2, 60_000), (3, 100)):
        assert log.append(entry(position, size_bytes))
    assert log.since(1) is None
    assert remembered(log) == [3]


def test_users_and_facts_of_an_entry_count() -> None:
    users = {UserId(f"@user{number}:hospital.example"): frozenset({"to_device"}) for number in range(100)}
    facts = {1: (Fact("presence", 1, tuple(users)),)}
    many: dict[str, Any]
    for many, bytes_max in (({"users": users}, 100_000), ({"facts": facts}, 20_000)):
        log = CommitLog(bytes_max=bytes_max)
        for position in range(1, 5):
            log.append(CommitEntry(previous=position - 1, position=position, **many))
        assert 0 < log.length < 4


def test_the_tail_is_bounded_by_entries() -> None:
    log = CommitLog(entries_max=3)
    for position in range(1, 6):
        log.append(entry(position, 10))
    assert remembered(log) == [3, 4, 5]
