"""Events and contexts for push rules, with documented defaults."""

from typing import Any

from tim_server.matrix.push_rules import PushContext

ALICE = "@alice:hospital.example"
BOB = "@bob:clinic.example"
WARD = "!ward:hospital.example"


def push_event(**properties: Any) -> dict[str, Any]:
    """A message of Bob in a room of Alice, unless `properties` say otherwise; None leaves a property out."""
    event: dict[str, Any] = {
        "type": "m.room.message",
        "sender": BOB,
        "room_id": WARD,
        "event_id": "$event",
        "origin_server_ts": 1,
        "content": {"msgtype": "m.text", "body": "hello"},
    }
    return {key: value for key, value in {**event, **properties}.items() if value is not None}


def push_context(
    *,
    room_member_count: int = 3,
    sender_power_level: float = 0,
    notification_levels: dict[str, float] | None = None,
    display_name: str | None = "Alice",
) -> PushContext:
    """A room of three, whose senders have no power; the user is called Alice there."""
    return PushContext(
        room_member_count=room_member_count,
        sender_power_level=sender_power_level,
        notification_levels=notification_levels or {},
        display_name=display_name,
    )
