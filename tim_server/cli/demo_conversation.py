"""The conversation of the demonstration: Alice and Bob on a ward, through the public client API.

Spec: https://spec.matrix.org/v1.19/client-server-api/
"""

import asyncio
from typing import Any
from urllib.parse import quote

from tim_server.cli.demo_client import API, SYNC_TIMEOUT_MS, DemoClient, DemoFailed, Json

NAMES = {"alice": "Alice", "bob": "Bob"}
ROOM_NAME = "Ward 3, handover"
MESSAGES_EACH = 3
WAKE_UPS_MAX = 20
SETTLE_S = 0.05
"""Long enough for a sync to have reached the server and to wait there."""


async def converse(alice: DemoClient, bob: DemoClient) -> None:
    """Act it out; raises `DemoFailed` where the server does not do what it should."""
    room_id = await _meet(alice, bob)
    await _talk(alice, bob, room_id)
    await _correct(alice, bob, room_id)
    await _look_back(alice, bob, room_id)


async def _meet(alice: DemoClient, bob: DemoClient) -> str:
    for client in (alice, bob):
        path = f"{API}/profile/{quote(client.user_id)}/displayname"
        await client.call("PUT", path, {"displayname": client.name})
    await bob.sync()
    alice.say("creates a room and invites Bob.")
    created = await alice.call(
        "POST",
        f"{API}/createRoom",
        {"name": ROOM_NAME, "topic": "Who takes over what", "preset": "private_chat", "invite": [bob.user_id]},
    )
    room_id: str = created["room_id"]
    bob.say("sees the invitation and joins.")
    invited = await bob.sync(timeout_ms=SYNC_TIMEOUT_MS)
    _expect("Bob's sync did not show the invitation", holds=room_id in invited.get("rooms", {}).get("invite", {}))
    await bob.call("POST", f"{API}/join/{quote(room_id)}", {})
    members = await alice.call("GET", f"{API}/rooms/{quote(room_id)}/joined_members")
    _expect(
        "Alice and Bob are not the members of the room", holds=set(members["joined"]) == {alice.user_id, bob.user_id}
    )
    bob.show(
        "In the room are " + " and ".join(sorted(str(member["display_name"]) for member in members["joined"].values()))
    )
    for client in (alice, bob):
        await client.sync()
    return room_id


async def _talk(alice: DemoClient, bob: DemoClient, room_id: str) -> None:
    for number in range(1, MESSAGES_EACH + 1):
        for sender, reader in ((alice, bob), (bob, alice)):
            text = f"Message {number} of {sender.name}"
            sender.say(f"sends “{text}”; {reader.name}, whose sync was waiting, gets it.")
            waiting = asyncio.ensure_future(_next_event(reader, room_id, body=text))
            await asyncio.sleep(SETTLE_S)
            event_id = await sender.send(room_id, text)
            event = await waiting
            reader.show(f"{reader.name} reads: {event['content']['body']}")
            _expect(f"{reader.name} got another event than {sender.name} sent", holds=event["event_id"] == event_id)
            _expect(f"the event does not say that it is {sender.name}'s", holds=event["sender"] == sender.user_id)


async def _correct(alice: DemoClient, bob: DemoClient, room_id: str) -> None:
    alice.say("sends something into the wrong room and takes it back.")
    event_id = await alice.send(room_id, "This was meant for somebody else")
    await alice.redact(room_id, event_id, "wrong room")
    seen = await bob.call("GET", f"{API}/rooms/{quote(room_id)}/event/{quote(event_id)}")
    _expect("the redacted message is still readable", holds="body" not in seen["content"])
    bob.show(f"What Bob finds in its place: {seen['content']}")


async def _look_back(alice: DemoClient, bob: DemoClient, room_id: str) -> None:
    bob.say("pages back through the history of the room.")
    bodies: list[str] = []
    query = {"dir": "b", "limit": "5"}
    while True:
        page = await bob.call("GET", f"{API}/rooms/{quote(room_id)}/messages", query=query)
        bodies += [event["content"]["body"] for event in page["chunk"] if "body" in event["content"]]
        if "end" not in page:
            break
        query["from"] = page["end"]
    expected = [f"Message {n} of {name}" for n in range(1, MESSAGES_EACH + 1) for name in (alice.name, bob.name)]
    _expect(f"the history holds {bodies}", holds=bodies == expected[::-1])
    bob.show(f"Bob finds {len(bodies)} messages, the oldest is “{bodies[-1]}”")


async def _next_event(reader: DemoClient, room_id: str, *, body: str) -> Json:
    """Sync, waiting, until the message arrives."""
    for _ in range(WAKE_UPS_MAX):
        news = await reader.sync(timeout_ms=SYNC_TIMEOUT_MS)
        room: dict[str, Any] = news.get("rooms", {}).get("join", {}).get(room_id, {})
        for event in room.get("timeline", {}).get("events", []):
            if event["content"].get("body") == body:
                return dict(event)
    raise DemoFailed(f"“{body}” did not reach {reader.name}")


def _expect(otherwise: str, *, holds: bool) -> None:
    if not holds:
        raise DemoFailed(otherwise)
