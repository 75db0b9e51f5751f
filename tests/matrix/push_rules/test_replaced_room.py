"""Push rules of a room hold for the one that replaces it."""

from tim_server.matrix.push_rules import RuleKind, UserRules, read_user_rule, with_rule, with_rules_for_replacement

OLD, NEW, OTHER = "!old:hospital.example", "!new:hospital.example", "!other:hospital.example"


def rules_of(*rules: tuple[RuleKind, str, dict[str, object]]) -> UserRules:
    user_rules = UserRules()
    for kind, rule_id, body in rules:
        user_rules = with_rule(user_rules, read_user_rule(kind, rule_id, body, enabled=False))
    return user_rules


def test_rules_that_are_named_after_the_room_are_repeated_with_their_conditions() -> None:
    condition = {"kind": "event_match", "key": "room_id", "pattern": OLD}
    before = rules_of(
        (RuleKind.OVERRIDE, OLD, {"actions": [], "conditions": [condition]}),
        (RuleKind.ROOM, OLD, {"actions": ["notify"]}),
        (RuleKind.ROOM, OTHER, {"actions": []}),
    )
    after = with_rules_for_replacement(before, OLD, NEW)
    override = after.defined.find(RuleKind.OVERRIDE, NEW)
    assert override is not None and not override.enabled
    assert override.as_json()["conditions"] == [{**condition, "pattern": NEW}]
    room = after.defined.find(RuleKind.ROOM, NEW)
    assert room is not None and room.as_json()["actions"] == ["notify"]
    assert after.defined.find(RuleKind.ROOM, OLD) == before.defined.find(RuleKind.ROOM, OLD)
    assert with_rules_for_replacement(after, OLD, NEW) is after


def test_rules_of_other_rooms_change_nothing() -> None:
    rules = rules_of((RuleKind.ROOM, OTHER, {"actions": []}), (RuleKind.SENDER, "@a:b", {"actions": []}))
    assert with_rules_for_replacement(rules, OLD, NEW) is rules
