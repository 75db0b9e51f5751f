"""Relations as the content of events states them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events
"""

from typing import Any

import pytest

from tim_server.matrix.identifiers import EventId
from tim_server.matrix.relations import Relation, relation_of

PARENT = EventId("$parent")


def stated(
    rel_type: Any, *, type: str = "m.room.message", state_key: str | None = None, **more: Any
) -> Relation | None:
    """What an event with this relation states; `key` goes into the relation, all else into the content."""
    relates_to = {"rel_type": rel_type, "event_id": PARENT}
    if "key" in more:
        relates_to["key"] = more.pop("key")
    return relation_of(type, state_key, {"m.relates_to": relates_to, **more})


@pytest.mark.parametrize("rel_type", ["m.thread", "m.reference", "org.example.note", "x" * 255])
def test_a_relation_has_a_type_and_a_parent(rel_type: str) -> None:
    assert stated(rel_type) == Relation(rel_type=rel_type, event_id=PARENT)


def test_an_annotation_has_a_key() -> None:
    assert stated("m.annotation", key="👍") == Relation(rel_type="m.annotation", event_id=PARENT, key="👍")
    for key in (None, 1, ["👍"], "\ud800"):
        assert stated("m.annotation", key=key) is None
    assert stated("m.annotation", type="m.room.encrypted") == Relation(rel_type="m.annotation", event_id=PARENT)
    assert stated("m.annotation", type="m.room.encrypted", key=1) is None


def test_a_replacement_has_new_content_and_no_state_key() -> None:
    new_content = {"m.new_content": {"body": "x"}}
    assert stated("m.replace", **new_content) == Relation(rel_type="m.replace", event_id=PARENT)
    assert stated("m.replace") is None
    assert stated("m.replace", **{"m.new_content": "x"}) is None
    assert stated("m.replace", state_key="", **new_content) is None
    assert stated("m.replace", type="m.room.encrypted") == Relation(rel_type="m.replace", event_id=PARENT)


@pytest.mark.parametrize("rel_type", [None, 1, "", "x" * 256, "ä" * 128, "a\0b", "\ud800"])
def test_relation_types_of_the_wrong_form(rel_type: Any) -> None:
    assert stated(rel_type) is None


@pytest.mark.parametrize(
    "relates_to",
    [None, "x", [], {}, {"rel_type": "m.thread"}]
    + [{"rel_type": "m.thread", "event_id": parent} for parent in (1, "", "parent", "$", "$\0", "$" + "x" * 255)],
)
def test_what_is_no_relation(relates_to: Any) -> None:
    assert relation_of("m.room.message", None, {"m.relates_to": relates_to}) is None
