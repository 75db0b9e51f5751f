"""Presence: what users, their devices and the time that passes make of it."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.presence import (
    OFFLINE,
    ONLINE,
    UNAVAILABLE,
    Asked,
    DeviceNote,
    PresenceTimes,
    Signals,
    UserPresence,
    next_presence,
    presence_content,
)

NOW = 1_000_000_000
TIMES = PresenceTimes(idle_after_ms=300_000, offline_after_ms=45_000)
OFF = UserPresence(user_id=UserId("@alice:hospital.example"))
ON = replace(OFF, presence=ONLINE, last_active_ts=NOW - 1_000)
IDLE = replace(OFF, presence=UNAVAILABLE, last_active_ts=NOW - 400_000)


def becomes(
    was: UserPresence, signals: Signals | None = None, devices: Mapping[str, str] | None = None
) -> tuple[UserPresence, bool]:
    """The rule; by default a device is there that says online."""
    devices = {"D": ONLINE} if devices is None else devices
    return next_presence(was, signals or Signals(), devices, now_ms=NOW, times=TIMES)


def note(presence: str, before: str | None, *, device_id: str = "D", is_new_sync: bool = True) -> Signals:
    """One device says something of itself."""
    said = DeviceNote(device_id=device_id, presence=presence, before=before, is_new_sync=is_new_sync)
    return Signals(notes=(said,))


@pytest.mark.parametrize(
    ("was", "says", "before", "expected"),
    [
        (OFF, ONLINE, None, ONLINE),
        (OFF, UNAVAILABLE, None, UNAVAILABLE),
        (OFF, ONLINE, ONLINE, ONLINE),  # they had said offline, and sync again
        (IDLE, ONLINE, None, ONLINE),
        (IDLE, ONLINE, UNAVAILABLE, ONLINE),
        (IDLE, ONLINE, ONLINE, UNAVAILABLE),  # to sync on and on is no activity
        (ON, ONLINE, ONLINE, ONLINE),
        (ON, UNAVAILABLE, ONLINE, UNAVAILABLE),
        (ON, UNAVAILABLE, None, ONLINE),  # a telephone in a pocket comes in reach
    ],
)
def test_what_a_device_says(was: UserPresence, says: str, before: str | None, expected: str) -> None:
    became, is_news = becomes(was, note(says, before), {"D": says})
    assert became.presence == expected
    assert is_news is (became.presence != was.presence)
    is_active = says == ONLINE and (before != ONLINE or was.presence == OFFLINE)
    assert became.last_active_ts == (NOW if is_active else was.last_active_ts)


def test_a_device_that_turns_is_told_of_even_if_nothing_changes() -> None:
    became, is_news = becomes(IDLE, note(UNAVAILABLE, ONLINE), {"D": UNAVAILABLE})
    assert (became, is_news) == (IDLE, True)


def test_no_device_makes_a_user_idle_while_another_is_in_use() -> None:
    devices = {"D": UNAVAILABLE, "OTHER": ONLINE}
    assert becomes(ON, note(UNAVAILABLE, ONLINE), devices) == (ON, False)


def test_a_device_that_only_waits_does_not_undo_what_the_user_asked_for() -> None:
    off = replace(OFF, last_active_ts=NOW)
    assert becomes(off, note(ONLINE, ONLINE, is_new_sync=False)) == (off, False)
    assert becomes(off, note(ONLINE, None, is_new_sync=False))[0].presence == ONLINE


@pytest.mark.parametrize(("was", "expected"), [(ON, ONLINE), (IDLE, ONLINE), (OFF, OFFLINE)])
def test_activity_ends_idleness_but_not_hiding(was: UserPresence, expected: str) -> None:
    became, is_news = becomes(was, Signals(active_ts=NOW))
    assert (became.presence, became.last_active_ts) == (expected, NOW)
    assert is_news is (expected != was.presence)


@pytest.mark.parametrize("was", [OFF, ON, IDLE])
@pytest.mark.parametrize("presence", [ONLINE, UNAVAILABLE, OFFLINE])
def test_what_a_user_asks_for_is_done(was: UserPresence, presence: str) -> None:
    asked = Signals(asked=Asked(presence=presence, status_msg="on call", ts=NOW))
    became, is_news = becomes(was, asked)
    assert became == replace(was, presence=presence, status_msg="on call", last_active_ts=NOW)
    assert is_news
    assert becomes(became, asked) == (became, False)


def test_a_status_message_goes_when_presence_is_set_without_one() -> None:
    was = replace(ON, status_msg="on call")
    became, is_news = becomes(was, Signals(asked=Asked(presence=ONLINE, status_msg=None, ts=NOW)))
    assert became.status_msg is None
    assert is_news


@pytest.mark.parametrize(
    ("inactive_ms", "devices", "expected"),
    [
        (299_999, {"D": ONLINE}, ONLINE),
        (300_000, {"D": ONLINE}, UNAVAILABLE),
        (44_999, {}, ONLINE),
        (45_000, {}, OFFLINE),
        (900_000, {}, OFFLINE),
    ],
)
def test_time_makes_users_idle_and_silence_makes_them_offline(
    inactive_ms: int, devices: dict[str, str], expected: str
) -> None:
    was = replace(ON, last_active_ts=NOW - inactive_ms)
    became, is_news = becomes(was, devices=devices)
    assert became == replace(was, presence=expected)
    assert is_news is (expected != ONLINE)


def test_the_content_tells_how_long_ago() -> None:
    assert presence_content(OFF, NOW) == {"presence": "offline"}
    assert presence_content(IDLE, NOW) == {"presence": "unavailable", "last_active_ago": 400_000}
    told = presence_content(replace(ON, status_msg="on call"), NOW)
    assert told == {
        "presence": "online",
        "last_active_ago": 1_000,
        "currently_active": True,
        "status_msg": "on call",
    }
    assert presence_content(replace(ON, last_active_ts=NOW + 5), NOW)["last_active_ago"] == 0
