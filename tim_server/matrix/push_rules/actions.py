"""Actions of push rules, and what they amount to for a user.

Spec: https://spec.matrix.org/v1.19/client-server-api/#actions
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.errors import BadJson

Action = str | Mapping[str, Any]

# Older versions of the specification had these; they must be ignored.
HISTORICAL_ACTIONS = frozenset({"dont_notify", "coalesce"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an event means for a user: whether to notify, how, and by which rule (None where none matched)."""

    notify: bool = False
    tweaks: Mapping[str, Any] = field(default_factory=dict)
    rule_id: str | None = None

    @property
    def highlight(self) -> bool:
        """Whether the event counts as a highlight: it notifies, with a `highlight` tweak that is true."""
        return self.notify and self.tweaks.get("highlight") is True

    @property
    def sound(self) -> str | None:
        """The sound to be played, `default` for a default sound; None for silence."""
        sound = self.tweaks.get("sound")
        return sound if self.notify and isinstance(sound, str) else None


NOTHING = Outcome()


def read_actions(value: object) -> tuple[Action, ...]:
    """The actions of a rule, the historical ones stripped. Raises `BadJson` where they are not actions at all."""
    if not isinstance(value, list):
        raise BadJson("actions must be a list")
    return tuple(_read_action(action) for action in value if not _is_historical(action))


def outcome_of(actions: Iterable[Action], rule_id: str) -> Outcome:
    """What the actions of a matching rule amount to. A tweak `highlight` without a value means true."""
    notify = False
    tweaks: dict[str, Any] = {}
    for action in actions:
        if isinstance(action, str):
            notify = notify or action == "notify"
        else:
            tweak = action["set_tweak"]
            if "value" in action or tweak == "highlight":
                tweaks[tweak] = action.get("value", True)
    return Outcome(notify=notify, tweaks=tweaks, rule_id=rule_id)


def _is_historical(action: object) -> bool:
    return isinstance(action, str) and action in HISTORICAL_ACTIONS


def _read_action(action: object) -> Action:
    if isinstance(action, str):
        return action
    if isinstance(action, Mapping) and isinstance(action.get("set_tweak"), str):
        return action
    raise BadJson("an action is a string, or an object with set_tweak")
