"""Presence: how what users and their devices say, and the time that passes, make what others are told.

Spec: https://spec.matrix.org/v1.19/client-server-api/#presence
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tim_server.matrix.identifiers import UserId

PRESENCE = "m.presence"
ONLINE = "online"
UNAVAILABLE = "unavailable"
OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPresence:
    """What others are told of a user. Times are milliseconds since 1970; 0 where the user never was active."""

    user_id: UserId
    presence: str = OFFLINE
    status_msg: str | None = None
    last_active_ts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a user asked to be told of them, and when."""

    presence: str
    status_msg: str | None
    ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNote:
    """What a device says of itself when it syncs: `online` or `unavailable`. `before` is what it said the last time,
    None where that is long ago. `is_new_sync`: it has just asked, and does not only wait still."""

    device_id: str
    presence: str
    before: str | None
    is_new_sync: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What has been heard of one user since their presence was last decided."""

    asked: Asked | None = None
    notes: Sequence[DeviceNote] = ()
    active_ts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceTimes:
    """After how long without activity a user is idle, and without any sync offline."""

    idle_after_ms: int = 300_000
    offline_after_ms: int = 45_000


def next_presence(
    was: UserPresence, signals: Signals, devices: Mapping[str, str], *, now_ms: int, times: PresenceTimes
) -> tuple[UserPresence, bool]:
    """What the user's presence becomes, and whether others are to be told. `devices` is what the user's devices say
    that have synced of late."""
    became, is_news = was, False
    if signals.active_ts is not None:
        became = _after_activity(became, signals.active_ts)
    for note in signals.notes:
        became = _after_note(became, note, devices, now_ms)
        has_turned = note.before is not None and note.before != note.presence
        is_news = is_news or (has_turned and became.presence == note.presence)
    if signals.asked is not None:
        asked = signals.asked
        # "When setting the status, the activity time is updated to reflect that activity".
        became = replace(became, presence=asked.presence, status_msg=asked.status_msg, last_active_ts=asked.ts)
    became = _after_time(became, devices, now_ms, times)
    is_told_otherwise = (became.presence, became.status_msg) != (was.presence, was.status_msg)
    return became, is_news or is_told_otherwise


def _after_activity(was: UserPresence, active_ts: int) -> UserPresence:
    """ "Any activity that bumps the last active time on any of the user's clients will cause the server to
    automatically set their presence to `online`" – unless they have all of their clients keep them offline."""
    presence = ONLINE if was.presence == UNAVAILABLE else was.presence
    return replace(was, presence=presence, last_active_ts=max(was.last_active_ts, active_ts))


def _after_note(was: UserPresence, note: DeviceNote, devices: Mapping[str, str], now_ms: int) -> UserPresence:
    """A device that says what it said before only shows that it is still there. One that appears, or says something
    else than before, speaks for the user; but no device makes them idle while another one says that they are not."""
    if note.before == note.presence:
        if was.presence != OFFLINE or not note.is_new_sync:
            return was
    elif note.presence == UNAVAILABLE and was.presence == ONLINE:
        others = (presence for device_id, presence in devices.items() if device_id != note.device_id)
        if note.before is None or ONLINE in others:
            return was
    return replace(
        was, presence=note.presence, last_active_ts=now_ms if note.presence == ONLINE else was.last_active_ts
    )


def _after_time(was: UserPresence, devices: Mapping[str, str], now_ms: int, times: PresenceTimes) -> UserPresence:
    """ "The server will automatically set a user's presence to `unavailable` if their last active time was over a
    threshold value"; and `offline` is who "is not connected to an event stream"."""
    inactive_ms = now_ms - was.last_active_ts
    if not devices and inactive_ms >= times.offline_after_ms:
        return replace(was, presence=OFFLINE)
    if was.presence == ONLINE and inactive_ms >= times.idle_after_ms:
        return replace(was, presence=UNAVAILABLE)
    return was


def presence_content(presence: UserPresence, now_ms: int) -> dict[str, object]:
    """The content of the user's `m.presence` event, and the answer to who asks for it."""
    content: dict[str, object] = {"presence": presence.presence}
    if presence.last_active_ts:
        content["last_active_ago"] = max(now_ms - presence.last_active_ts, 0)
    if presence.presence == ONLINE:
        content["currently_active"] = True  # until they are told to be idle: "the server will not send further updates"
    if presence.status_msg is not None:
        content["status_msg"] = presence.status_msg
    return content
