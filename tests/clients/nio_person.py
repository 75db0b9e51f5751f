"""A person with matrix-nio: the client, what it has shown of each room, and waiting for it to show more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nio import (
    AsyncClient,
    AsyncClientConfig,
    BadEvent,
    ErrorResponse,
    Event,
    InviteMemberEvent,
    LoginResponse,
    MatrixRoom,
    MessageDirection,
    RegisterResponse,
    RoomMessagesResponse,
    RoomMessageText,
    RoomSendResponse,
    UnknownBadEvent,
)

PASSWORD = "correct horse battery staple"
SYNC_TIMEOUT_MS = 30_000
PATIENCE_S = 10.0
PAGES_MAX = 100

Response = TypeVar("Response")


def expect(response: object, kind: type[Response]) -> Response:
    """`response`, which must be one of this kind: matrix-nio returns errors instead of raising them."""
    assert isinstance(response, kind), response
    return response


def bodies(events: list[Event]) -> list[str]:
    """The texts of those events that are text messages."""
    return [event.body for event in events if isinstance(event, RoomMessageText)]


@dataclass(slots=True, kw_only=True)
class Person:
    """One account's client, and what its sync loop has delivered of each room, in the order in which it came."""

    client: AsyncClient
    timelines: dict[str, list[Event]] = field(default_factory=dict)
    invitations: dict[str, InviteMemberEvent] = field(default_factory=dict)
    _complaints: list[object] = field(default_factory=list)
    _delivered: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.client.add_event_callback(self._keep_event, Event)
        self.client.add_event_callback(self._keep_invitation, InviteMemberEvent)
        self.client.add_event_callback(self._complain_of_event, (BadEvent, UnknownBadEvent))
        self.client.add_response_callback(self._keep_response)

    @property
    def user_id(self) -> str:
        """The account."""
        user_id: str = self.client.user_id
        return user_id

    def heard(self, room_id: str) -> list[str]:
        """The text messages of a room that the sync loop has brought."""
        return bodies(self.timelines.get(room_id, []))

    async def say(self, room_id: str, body: str) -> str:
        """Send a text message; its event id."""
        content = {"msgtype": "m.text", "body": body}
        sent = await self.client.room_send(room_id, "m.room.message", content)
        event_id: str = expect(sent, RoomSendResponse).event_id
        return event_id

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until the sync loop has brought what makes `holds` true."""
        async with asyncio.timeout(PATIENCE_S), self._delivered:
            await self._delivered.wait_for(holds)

    async def hears(self, room_id: str, texts: list[str]) -> None:
        """Wait until the sync loop has brought as many text messages as these, which must be these in this order."""
        await self.until(lambda: len(self.heard(room_id)) >= len(texts))
        assert self.heard(room_id) == texts

    @asynccontextmanager
    async def syncing(self, **options: Any) -> AsyncIterator[None]:
        """Run nio's sync loop, from its first answer on; what it complains of fails the test."""
        first = asyncio.create_task(self.client.synced.wait())
        loop = asyncio.create_task(self.client.sync_forever(timeout=SYNC_TIMEOUT_MS, **options))
        await asyncio.wait([loop, first], return_when=asyncio.FIRST_COMPLETED)
        try:
            yield
        finally:
            loop.cancel()
            first.cancel()
            with suppress(asyncio.CancelledError):
                await loop
        assert not self._complaints

    async def history(self, room_id: str, start: str, *, page_size: int) -> list[RoomMessagesResponse]:
        """All pages from `start` back to the beginning of the room."""
        pages: list[RoomMessagesResponse] = []
        token: str | None = start
        while token is not None:
            assert len(pages) < PAGES_MAX, "there is no end to it"
            page = await self.client.room_messages(room_id, token, direction=MessageDirection.back, limit=page_size)
            pages.append(expect(page, RoomMessagesResponse))
            token = pages[-1].end
        return pages

    async def _keep_event(self, room: MatrixRoom, event: Event) -> None:
        self.timelines.setdefault(room.room_id, []).append(event)

    async def _keep_invitation(self, room: MatrixRoom, event: InviteMemberEvent) -> None:
        if event.state_key == self.user_id:
            self.invitations[room.room_id] = event

    async def _complain_of_event(self, _: MatrixRoom, event: object) -> None:
        self._complaints.append(event)

    async def _keep_response(self, response: object) -> None:
        if isinstance(response, ErrorResponse):
            self._complaints.append(response)
        async with self._delivered:
            self._delivered.notify_all()


@asynccontextmanager
async def logged_in(base_url: str, user_id: str) -> AsyncIterator[Person]:
    """A person on a new device, logged in with the password."""
    config = AsyncClientConfig(max_limit_exceeded=0, max_timeouts=0, encryption_enabled=False)
    client = AsyncClient(base_url, user_id, config=config)
    try:
        expect(await client.login(PASSWORD, device_name="matrix-nio"), LoginResponse)
        yield Person(client=client)
    finally:
        await client.close()


async def register(base_url: str, name: str) -> str:
    """Make an account; its user id."""
    client = AsyncClient(base_url)
    try:
        registered = expect(await client.register(name, PASSWORD), RegisterResponse)
    finally:
        await client.close()
    user_id: str = registered.user_id
    return user_id
