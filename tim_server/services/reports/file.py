"""Report events, rooms and users to the administrators of the server.

Spec: https://spec.matrix.org/v1.19/client-server-api/#reporting-content
"""

from collections.abc import Callable
from dataclasses import dataclass

from tim_server.matrix.errors import LimitExceeded, NotFound, TooLarge
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.rooms.event import view_event
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.reports import NewReport, count_open_reports, insert_report, knows_room, knows_user
from tim_server.storage.writer import Writer

REASON_BYTES_MAX = 10_000
"""A reason is a few sentences for people to read."""

_RETRY_AFTER_MS = 3_600_000
"""Administrators decide in hours, not seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """Takes reports; `open_per_user_max` bounds those of one user that wait for a decision."""

    database: Database
    writer: Writer
    client_events: ClientEvents
    now_ms: Callable[[], int]
    open_per_user_max: int

    async def report_event(
        self, requester: Requester, room_id: RoomId, event_id: EventId, *, reason: str | None, score: int | None
    ) -> None:
        """Report an event of a room that the user is joined to; raises `NotFound` where it is not there, or not for the
        user to see, `TooLarge` and `LimitExceeded`."""
        _check_reason(reason)
        async with self.database.read() as tx:
            view = await view_event(tx, self.client_events, requester, room_id, event_id)
        # "Servers MUST verify that the reporting user is currently joined to the room the event is in"
        if view.room.membership != "join":
            raise NotFound("There is no such event")
        await self._file(
            NewReport(
                kind="event",
                reporter=requester.user_id,
                received_ts=self.now_ms(),
                room_id=room_id,
                event_id=event_id,
                user_id=view.row.sender,
                score=score,
                reason=reason,
            )
        )

    async def report_room(self, requester: Requester, room_id: RoomId, *, reason: str) -> None:
        """Report a room, whether or not the user is in it; raises `NotFound`, `TooLarge` and `LimitExceeded`."""
        _check_reason(reason)
        async with self.database.connection() as connection:
            if not await knows_room(connection, room_id):
                raise NotFound("There is no such room")
        report = NewReport(
            kind="room", reporter=requester.user_id, received_ts=self.now_ms(), room_id=room_id, reason=reason
        )
        await self._file(report)

    async def report_user(self, requester: Requester, user_id: UserId, *, reason: str) -> None:
        """Report a user, whether or not they share a room; raises `NotFound`, `TooLarge` and `LimitExceeded`."""
        _check_reason(reason)
        async with self.database.connection() as connection:
            if not await knows_user(connection, user_id):
                raise NotFound("There is no such user")
        report = NewReport(
            kind="user", reporter=requester.user_id, received_ts=self.now_ms(), user_id=user_id, reason=reason
        )
        await self._file(report)

    async def _file(self, report: NewReport) -> None:
        codec = self.client_events.codec
        await self.writer.write(_File(codec=codec, report=report, open_per_user_max=self.open_per_user_max))


def _check_reason(reason: str | None) -> None:
    if reason is not None and len(reason.encode()) > REASON_BYTES_MAX:
        raise TooLarge(f"A reason must have at most {REASON_BYTES_MAX} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    codec: Codec
    report: NewReport
    open_per_user_max: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        if await count_open_reports(tx, self.report.reporter) >= self.open_per_user_max:
            raise LimitExceeded("Too many of your reports wait for a decision", retry_after_ms=_RETRY_AFTER_MS)
        await insert_report(tx, self.codec, self.report)
