"""What the rules of a user will make of the events of a room, as far as it can be said before there are any.

A forecast gives the level of each notify class, which holds for nearly all events, and says by which signs the others
are known, whose outcome must be looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.push_rules.actions import outcome_of
from tim_server.matrix.push_rules.conditions import PushContext
from tim_server.matrix.push_rules.defaults import DEFAULT_RULES_OF_OTHERS, MASTER_RULE_ID
from tim_server.matrix.push_rules.notify_class import CLASS_OF_RULE, NotifyClass, NotifyLevel, level_of
from tim_server.matrix.push_rules.rules import PushRule, RuleSet
from tim_server.matrix.push_rules.triggers import Trigger, is_for_room, trigger_of

_RANKS: dict[str | None, int] = {rule.rule_id: rank for rank, rule in enumerate(DEFAULT_RULES_OF_OTHERS.in_order())}
_RANKS[None] = len(_RANKS)
# What an event that one of these rules matched is like, as far as any later server-default rule asks.
_LIKE: dict[str | None, tuple[str, int]] = {
    ".m.rule.call": ("m.call.invite", 0),
    ".m.rule.encrypted_room_one_to_one": ("m.room.encrypted", 2),
    ".m.rule.room_one_to_one": ("m.room.message", 2),
    ".m.rule.message": ("m.room.message", 0),
    ".m.rule.encrypted": ("m.room.encrypted", 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """`levels` by notify class. An event's outcome may be another if it has one of the `triggers`, if the
    server-default rule that matched it (None: none did) is among the `doubtful` ones, or if it names the user."""

    levels: tuple[NotifyLevel, ...]
    triggers: frozenset[Trigger] = frozenset()
    doubtful: frozenset[str | None] = frozenset()

    @property
    def is_certain(self) -> bool:
        """Whether the levels hold for all events that do not name the user."""
        return not self.triggers and not self.doubtful


def forecast_of(rules: RuleSet, room_id: str) -> Forecast:
    """The forecast of a user's rules for a room."""
    steps = [
        (rule, None if rule.default else trigger_of(rule))
        for rule in rules.in_order()
        if rule.enabled and (rule.default or is_for_room(rule, room_id))
    ]
    levels = [NotifyLevel.NONE] * len(NotifyClass)
    triggers: set[Trigger] = set()
    doubtful: set[str | None] = set()
    for matched in _RANKS:
        if matched == MASTER_RULE_ID:
            continue
        level = _level_after(steps, matched, triggers)
        notify_class = CLASS_OF_RULE.get(matched) if matched is not None else None
        if notify_class is not None and level is not None:
            levels[notify_class] = level
        elif level is not NotifyLevel.NONE:
            doubtful.add(matched)
    return Forecast(levels=tuple(levels), triggers=frozenset(triggers), doubtful=frozenset(doubtful))


def is_certain_everywhere(rules: RuleSet) -> bool:
    """Whether forecasts are certain for any room. It may say no where they are, never yes where one is not."""
    own = [rule for rule in rules.in_order() if rule.enabled and not rule.default]
    is_by_room = all(trigger_of(rule) is None and _level(rule) is NotifyLevel.NONE for rule in own)
    return is_by_room and forecast_of(rules, "").is_certain


def _level_after(
    steps: Sequence[tuple[PushRule, Trigger | None]], matched: str | None, triggers: set[Trigger]
) -> NotifyLevel | None:
    """What becomes of an event that this server-default rule matched, unless one of the `triggers` that are added comes
    first; None where it can't be said."""
    for rule, trigger in steps:
        if not rule.default:
            if trigger is None:
                return _level(rule)
            triggers.add(trigger)
        elif rule.rule_id == MASTER_RULE_ID:
            return _level(rule)
        elif rule.rule_id not in _RANKS:
            continue  # about the user
        elif rule.rule_id == matched:
            return _level(rule)
        elif _RANKS[rule.rule_id] > _RANKS[matched]:
            matches = _matches_too(rule, matched)
            if matches is None:
                return None
            if matches:
                return _level(rule)
    return NotifyLevel.NONE


def _matches_too(rule: PushRule, matched: str | None) -> bool | None:
    """Whether a server-default rule matches the events that an earlier one matches, which the user has disabled; None
    where it can't be said."""
    if matched not in _LIKE:
        return None
    event_type, member_count = _LIKE[matched]
    context = PushContext(room_member_count=member_count, sender_power_level=0, notification_levels={})
    return all(condition.holds({"type": event_type}, context) for condition in rule.conditions)


def _level(rule: PushRule) -> NotifyLevel:
    return level_of(outcome_of(rule.actions, rule.rule_id))


DEFAULT_FORECAST = forecast_of(DEFAULT_RULES_OF_OTHERS, "")
"""The forecast of who has changed no rule, for any room."""
