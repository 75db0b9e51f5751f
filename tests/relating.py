"""Contents of events that relate to others, for tests."""

from typing import Any

from tests.people import Person


def relates(rel_type: str, parent: str, **more: Any) -> dict[str, Any]:
    """A text that relates to another event."""
    return {"msgtype": "m.text", "body": "related", "m.relates_to": {"rel_type": rel_type, "event_id": parent, **more}}


async def reply(person: Person, room_id: str, root: str, text: str = "in the thread") -> str:
    """Send a text into the thread that starts from an event; its id."""
    return await person.send(room_id, relates("m.thread", root) | {"body": text})


async def edit(person: Person, room_id: str, original: str, text: str, **content: Any) -> str:
    """Replace the text of an event; the replacement's id."""
    new = {"m.new_content": {"msgtype": "m.text", "body": text}, "body": f"* {text}"}
    return await person.send(room_id, relates("m.replace", original) | new | content)


async def react(person: Person, room_id: str, parent: str, key: str) -> str:
    """Annotate an event; the annotation's id."""
    content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": parent, "key": key}}
    return await person.send(room_id, content, type="m.reaction")


async def ignore(person: Person, *others: Person) -> None:
    """Ignore others from now on."""
    content = {"ignored_users": {other.user_id: {} for other in others}}
    await person.put(f"user/{person.user_id}/account_data/m.ignored_user_list", content)


async def aggregated(person: Person, room_id: str, event_id: str) -> dict[str, Any]:
    """`m.relations` of an event, as `/event` tells it."""
    relations: dict[str, Any] = (await person.event(room_id, event_id))["unsigned"].get("m.relations", {})
    return relations
