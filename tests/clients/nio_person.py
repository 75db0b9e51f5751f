"""A person with matrix-nio: the client, what it has shown of each room, and waiting for it to show more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from nio import (
    AsyncClient,
    AsyncClientConfig,
    BadEvent,
    EncryptionError,
    ErrorResponse,
    Event,
    InviteMemberEvent,
    MatrixRoom,
    MegolmEvent,
    MessageDirection,
    ReactionEvent,
    RoomMessageText,
    UnknownBadEvent,
)
from nio.api import RelationshipType
from nio.store import SqliteMemoryStore

PASSWORD = "correct horse battery staple"
SYNC_TIMEOUT_MS = 30_000
PATIENCE_S = 10.0
PAGES_MAX = 100


def checked(response: Any) -> Any:
    """`response`, which must not be an error: matrix-nio returns errors instead of raising them."""
    assert not isinstance(response, ErrorResponse), response
    return response


def bodies(events: list[Event]) -> list[str]:
    """The texts of those events that are text messages."""
    return [event.body for event in events if isinstance(event, RoomMessageText)]


def _text(body: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body}


def _relation(rel_type: str, event_id: str, **more: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id, **more}}


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

    @property
    def device_id(self) -> str:
        """The device that is logged in."""
        device_id: str = self.client.device_id
        return device_id

    def room(self, room_id: str) -> MatrixRoom:
        """What the client knows of a room that the account has joined."""
        return self.client.rooms[room_id]

    def members(self, room_id: str) -> set[str]:
        """Who is in a room; nobody, as long as the client does not know the room."""
        return set(self.room(room_id).users) if room_id in self.client.rooms else set()

    def knows_device(self, user_id: str, device_id: str) -> bool:
        """Whether the client would encrypt for a device, since its user has it now."""
        devices = self.client.device_store.active_user_devices(user_id)
        return device_id in {device.id for device in devices}

    def heard(self, room_id: str) -> list[str]:
        """The text messages of a room that the sync loop has brought."""
        return bodies(self.timelines.get(room_id, []))

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The response to a method of the client, which must succeed."""
        return checked(await getattr(self.client, method)(*arguments, **options))

    async def refusal(self, method: str, *arguments: Any, **options: Any) -> str:
        """The errcode with which the server refuses what a method of the client asks."""
        response = await getattr(self.client, method)(*arguments, **options)
        assert isinstance(response, ErrorResponse), response
        errcode: str = response.status_code
        return errcode

    async def say(self, room_id: str, body: str) -> str:
        """Send a text message; its event id."""
        return await self.send(room_id, "m.room.message", _text(body))

    async def send(self, room_id: str, event_type: str, content: dict[str, Any]) -> str:
        """Send an event, encrypted for every device in the room if the room is encrypted; its event id."""
        sent = await self.call("room_send", room_id, event_type, content, ignore_unverified_devices=True)
        event_id: str = sent.event_id
        return event_id

    async def mention(self, room_id: str, body: str, user_ids: list[str]) -> str:
        """Send a text message that mentions people; its event id."""
        return await self.send(room_id, "m.room.message", _text(body) | {"m.mentions": {"user_ids": user_ids}})

    async def say_in_thread(self, room_id: str, root: str, body: str) -> str:
        """Send a text message into the thread that begins at an event; its event id."""
        return await self.send(room_id, "m.room.message", _text(body) | _relation("m.thread", root))

    async def edit(self, room_id: str, event_id: str, body: str) -> str:
        """Change what a message says; the event id of the change."""
        content = _text(f"* {body}") | {"m.new_content": _text(body)} | _relation("m.replace", event_id)
        return await self.send(room_id, "m.room.message", content)

    async def react(self, room_id: str, event_id: str, key: str) -> str:
        """React to a message; the event id of the reaction."""
        return await self.send(room_id, "m.reaction", _relation("m.annotation", event_id, key=key))

    def reactions(self, room_id: str, event_id: str) -> list[str]:
        """What the sync loop has brought of reactions to a message."""
        events = [event for event in self.timelines.get(room_id, []) if isinstance(event, ReactionEvent)]
        return [event.key for event in events if event.reacts_to == event_id]

    async def related(self, room_id: str, event_id: str, kind: RelationshipType) -> list[Event]:
        """The events that relate to an event in this way, decrypted, latest first."""
        events = [event async for event in self.client.room_get_event_relations(room_id, event_id, kind)]
        return [self.client.decrypt_event(event) if isinstance(event, MegolmEvent) else event for event in events]

    async def threads(self, room_id: str) -> list[Event]:
        """The events that threads begin with, that with the latest reply first."""
        return [event async for event in self.client.room_get_threads(room_id)]

    def has_seen_receipt(self, room_id: str, user_id: str, event_id: str) -> bool:
        """Whether the latest receipt of a user in the main timeline is at this event."""
        room = self.room(room_id)
        receipt = room.threaded_read_receipts.get(user_id, {}).get("main") or room.read_receipts.get(user_id)
        return receipt is not None and receipt.event_id == event_id

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
        assert not self._complaints, self._complaints

    async def history(self, room_id: str, start: str | None, *, page_size: int) -> list[list[Event]]:
        """All pages from `start` (None: the end) back to the beginning of the room."""
        pages: list[list[Event]] = []
        while not pages or start is not None:
            assert len(pages) < PAGES_MAX, "there is no end to it"
            page = await self.call("room_messages", room_id, start, direction=MessageDirection.back, limit=page_size)
            pages.append(page.chunk)
            start = page.end
        return pages

    async def _keep_event(self, room: MatrixRoom, event: Event) -> None:
        self.timelines.setdefault(room.room_id, []).append(event)

    def _read(self, event: Event) -> Event:
        """An encrypted event decrypted, where its key has come after it: nothing orders events and messages to devices
        that come from another server."""
        if isinstance(event, MegolmEvent):
            with suppress(EncryptionError):
                return self.client.decrypt_event(event)
        return event

    async def _keep_invitation(self, room: MatrixRoom, event: InviteMemberEvent) -> None:
        if event.state_key == self.user_id:
            self.invitations[room.room_id] = event

    async def _complain_of_event(self, _: MatrixRoom, event: object) -> None:
        self._complaints.append(event)

    async def _keep_response(self, response: object) -> None:
        if isinstance(response, ErrorResponse):
            self._complaints.append(response)
        for timeline in self.timelines.values():
            timeline[:] = map(self._read, timeline)
        async with self._delivered:
            self._delivered.notify_all()


@asynccontextmanager
async def logged_in(base_url: str, user_id: str, *, encryption: bool = False) -> AsyncIterator[Person]:
    """A person on a new device, logged in with the password; the keys of encryption live in memory."""
    config = AsyncClientConfig(
        max_limit_exceeded=0, max_timeouts=0, encryption_enabled=encryption, store=SqliteMemoryStore
    )
    client = AsyncClient(base_url, user_id, config=config)
    try:
        checked(await client.login(PASSWORD, device_name="matrix-nio"))
        yield Person(client=client)
    finally:
        await client.close()


async def register(base_url: str, name: str) -> str:
    """Make an account; its user id."""
    client = AsyncClient(base_url)
    try:
        user_id: str = checked(await client.register(name, PASSWORD)).user_id
    finally:
        await client.close()
    return user_id
