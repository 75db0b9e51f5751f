"""What a sync says, in older forms."""

from tim_server.services.sync.older_forms import joined_members, presence_events, stream_events

PRESENCE = {"type": "m.presence", "sender": "@bob:hospital.example", "content": {"presence": "online"}}


def test_the_content_of_presence_names_its_user() -> None:
    answer = {"presence": {"events": [PRESENCE]}}
    (event,) = presence_events(answer)
    assert event["content"] == {"presence": "online", "user_id": "@bob:hospital.example"}
    assert stream_events(answer, {}) == [event]


def test_who_is_joined_by_the_state() -> None:
    def member(user_id: str, membership: str) -> dict[str, object]:
        return {"type": "m.room.member", "state_key": user_id, "content": {"membership": membership}}

    state = [member("@a:x", "join"), member("@b:x", "leave"), {"type": "m.room.name", "state_key": "", "content": {}}]
    assert joined_members(state) == {"@a:x"}
