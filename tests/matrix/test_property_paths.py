"""Dot-separated property paths.

Spec: https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths
"""

import pytest

from tim_server.matrix.property_paths import ABSENT, only_properties, parse_property_path, property_at

EVENT = {
    "type": "m.room.message",
    "content": {"body": "hello", "m.relates_to": {"rel_type": "m.replace"}, "m\\foo": 1, "nothing": None},
}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to", ("content", "m.relates_to")),
        (r"content.m\\foo", ("content", "m\\foo")),
        (r"content.\x", ("content", "\\x")),
        (r"a\\.b", ("a\\", "b")),
        ("a\\", ("a\\",)),
        ("", ("",)),
        ("a..b", ("a", "", "b")),
    ],
)
def test_dots_and_backslashes_of_a_name_are_escaped(text, path):
    assert parse_property_path(text) == path


def test_a_property_is_found_at_its_path():
    assert property_at(EVENT, ("content", "m.relates_to", "rel_type")) == "m.replace"
    assert property_at(EVENT, ("content", "nothing")) is None


@pytest.mark.parametrize("path", [("sender",), ("content", "body", "x"), ("content", "m", "relates_to")])
def test_an_absent_property_is_absent(path):
    assert property_at(EVENT, path) is ABSENT


def test_only_the_listed_properties_remain():
    paths = [("content", "body"), ("type",), ("sender",)]
    assert only_properties(EVENT, paths) == {"type": "m.room.message", "content": {"body": "hello"}}


def test_a_path_that_leads_to_an_object_keeps_all_of_it_in_any_order():
    paths = [("content", "body"), ("content",)]
    assert only_properties(EVENT, paths) == {"content": EVENT["content"]}
    assert only_properties(EVENT, reversed(paths)) == {"content": EVENT["content"]}


def test_the_original_is_not_changed():
    result = only_properties(EVENT, [("content", "m.relates_to", "rel_type"), ("content", "m.relates_to")])
    assert result == {"content": {"m.relates_to": {"rel_type": "m.replace"}}}
    assert EVENT["content"]["body"] == "hello"
