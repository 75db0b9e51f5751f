"""The conversation of the demonstration: Alice at one hospital and Bob at the other, through the public client API.

Spec: https://spec.matrix.org/v1.19/client-server-api/
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

from tim_server.cli.demo_client import API, SYNC_TIMEOUT_MS, DemoClient, DemoFailed, Json
from tim_server.cli.demo_encryption import MEGOLM, Device
from tim_server.cli.demo_files import seal, unseal
from tim_server.cli.demo_places import Places

T = TypeVar("T")

ROOM_NAME = "Patient transfer"
LETTER = b"Discharge letter. The patient is to be seen again in two weeks."
MESSAGES_EACH = 2
WAIT_S = 30.0
SYNC_FILTER = '{"presence":{"types":[]},"room":{"timeline":{"limit":50}}}'


@dataclass(slots=True, kw_only=True)
class Clinician:
    """A person with a client that encrypts. What has come is kept until it is looked for."""

    client: DemoClient
    device: Device
    messages: dict[str, Json] = field(default_factory=dict)
    """Decrypted contents of messages, by event id."""
    _unread: list[tuple[str, Json]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the person is called in what is printed."""
        return self.client.name

    async def look(self, *, timeout_ms: int = 0) -> Json:
        """Sync: take in keys and messages; what came."""
        news = await self.client.sync(timeout_ms=timeout_ms)
        self.device.absorb(news)
        for room_id, room in news.get("rooms", {}).get("join", {}).items():
            events = room.get("timeline", {}).get("events", [])
            self._unread += [(room_id, event) for event in events if event["type"] == "m.room.encrypted"]
        self._decrypt()
        return news

    async def wait_for(self, what: str, find: Callable[[Json], T | None]) -> T:
        """Sync until `find` finds something in what came; raises `DemoFailed` where it takes too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WAIT_S
        news = await self.look()
        while True:
            found = find(news)
            if found is not None:
                return found
            left_s = deadline - loop.time()
            if left_s <= 0:
                raise DemoFailed(f"{self.name} waited for {what} in vain")
            news = await self.look(timeout_ms=min(SYNC_TIMEOUT_MS, round(left_s * 1000)))

    async def wait_for_message(self, event_id: str) -> Json:
        """The content of a message, once it has come and can be read."""
        return await self.wait_for("a message", lambda _: self.messages.get(event_id))

    async def say(self, room_id: str, content: Json) -> str:
        """Send a message, encrypted; its event id."""
        encrypted = self.device.encrypt(room_id, content)
        return await self.client.send(room_id, encrypted, event_type="m.room.encrypted")

    def _decrypt(self) -> None:
        unread, self._unread = self._unread, []
        for room_id, event in unread:
            content = self.device.decrypt(event, room_id)
            if content is None:
                self._unread.append((room_id, event))
            else:
                self.messages[event["event_id"]] = content


async def converse(alice: Clinician, bob: Clinician, places: Places) -> tuple[str, str]:
    """Act it out; the room's id, and the address of a file in it.

    Raises `DemoFailed` where a server does not do what it should.
    """
    room_id = await _meet(alice, bob, places)
    await _exchange_keys(alice, bob, room_id)
    last = await _talk(alice, bob, room_id)
    await _look_inside(alice, room_id, last)
    await _receipt(alice, bob, room_id, last)
    return room_id, await _hand_over(alice, bob, room_id)


async def _meet(alice: Clinician, bob: Clinician, places: Places) -> str:
    alice.client.say(f"of {places.st_mary.title} creates an encrypted room and invites Bob of {places.city.title}.")
    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}
    body = {
        "name": ROOM_NAME,
        "preset": "private_chat",
        "invite": [bob.client.user_id],
        "initial_state": [encryption],
    }
    created = await alice.client.call("POST", f"{API}/createRoom", body)
    room_id: str = created["room_id"]
    bob.client.say("sees the invitation, which his own server had from the other one, and joins.")
    await bob.wait_for("the invitation", lambda news: news.get("rooms", {}).get("invite", {}).get(room_id))
    await bob.client.call("POST", f"{API}/join/{quote(room_id)}", {})
    members = await bob.client.call("GET", f"{API}/rooms/{quote(room_id)}/joined_members")
    expect(
        "Alice and Bob are not the members of the room",
        holds=set(members["joined"]) == {alice.client.user_id, bob.client.user_id},
    )
    bob.client.show(f"In the room are {' and '.join(sorted(members['joined']))}")
    await alice.wait_for("Bob to be in the room", lambda _: _member(_, room_id, bob.client.user_id))
    return room_id


async def _exchange_keys(alice: Clinician, bob: Clinician, room_id: str) -> None:
    for one, other in ((alice, bob), (bob, alice)):
        one.client.say(f"asks for the keys of {other.name}'s devices, and sends them a key for the room.")
        count = await one.device.share_room_key(room_id, other.client.user_id)
        expect(f"{other.name} has no device with keys", holds=count > 0)
        one.client.show(f"Devices of {other.name} that have the key, encrypted for each: {count}")


async def _talk(alice: Clinician, bob: Clinician, room_id: str) -> str:
    """Both ways, in turn; the last message's event id."""
    event_id = ""
    for number in range(1, MESSAGES_EACH + 1):
        for sender, reader in ((alice, bob), (bob, alice)):
            text = f"Message {number} of {sender.name}"
            sender.client.say(f"sends “{text}”, encrypted.")
            event_id = await sender.say(room_id, {"msgtype": "m.text", "body": text})
            content = await reader.wait_for_message(event_id)
            expect(f"{reader.name} reads something else than {sender.name} wrote", holds=content["body"] == text)
            reader.client.show(f"{reader.name} reads: {content['body']}")
    return event_id


async def _look_inside(alice: Clinician, room_id: str, event_id: str) -> None:
    event = await alice.client.call("GET", f"{API}/rooms/{quote(room_id)}/event/{quote(event_id)}")
    content = event["content"]
    expect(
        "the server has a message in plain text", holds=event["type"] == "m.room.encrypted" and "body" not in content
    )
    alice.client.show(f"What the servers have of it: {content['algorithm']}, {content['ciphertext'][:40]}…")


async def _receipt(alice: Clinician, bob: Clinician, room_id: str, last: str) -> None:
    alice.client.say("has read it: her receipt goes to the other hospital.")
    path = f"{API}/rooms/{quote(room_id)}/receipt/m.read/{quote(last)}"
    await alice.client.call("POST", path, {})
    await bob.wait_for("the receipt", lambda news: _receipt_in(news, room_id, last, alice.client.user_id))
    bob.client.show("Bob sees that Alice has read his message")


async def _hand_over(alice: Clinician, bob: Clinician, room_id: str) -> str:
    alice.client.say("sends a file. It is encrypted before her server has it.")
    sealed, keys = seal(LETTER)
    url = await alice.client.upload(sealed)
    info = {"size": len(LETTER), "mimetype": "text/plain"}
    content = {"msgtype": "m.file", "body": "letter.txt", "info": info, "file": {"url": url, **keys}}
    event_id = await alice.say(room_id, content)
    file = (await bob.wait_for_message(event_id))["file"]
    bob.client.say("opens it. His server fetches it from hers.")
    letter = unseal(await bob.client.download(file["url"]), file)
    expect("Bob has another file than Alice sent", holds=letter == LETTER)
    bob.client.show(f"In the file: {letter.decode()}")
    return url


def _member(news: Json, room_id: str, user_id: str) -> Json | None:
    """The event by which the user joined, where it is among what came."""
    room = news.get("rooms", {}).get("join", {}).get(room_id, {})
    events = [*room.get("state", {}).get("events", []), *room.get("timeline", {}).get("events", [])]
    return next(
        (
            each
            for each in events
            if (each["type"], each.get("state_key")) == ("m.room.member", user_id)
            and each["content"]["membership"] == "join"
        ),
        None,
    )


def _receipt_in(news: Json, room_id: str, event_id: str, user_id: str) -> Json | None:
    room = news.get("rooms", {}).get("join", {}).get(room_id, {})
    for event in room.get("ephemeral", {}).get("events", []):
        if event["type"] == "m.receipt":
            found: Json | None = event["content"].get(event_id, {}).get("m.read", {}).get(user_id)
            if found is not None:
                return found
    return None


def expect(otherwise: str, *, holds: bool) -> None:
    """Raises `DemoFailed` unless what should be so is so."""
    if not holds:
        raise DemoFailed(otherwise)
