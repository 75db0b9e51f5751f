"""Push rules: the server-default ones, a user's own, and the evaluation of events."""

from tim_server.matrix.push_rules.actions import NOTHING, Action, Outcome, read_actions
from tim_server.matrix.push_rules.conditions import PushContext
from tim_server.matrix.push_rules.defaults import DEFAULT_RULES_OF_OTHERS, default_rules, users_named_by
from tim_server.matrix.push_rules.evaluate import evaluate, notification_levels, pushed_event
from tim_server.matrix.push_rules.forecast import DEFAULT_FORECAST, Forecast, forecast_of, is_certain_everywhere
from tim_server.matrix.push_rules.notify_class import (
    RULE_OF_CLASS,
    NotifyClass,
    NotifyLevel,
    level_of,
    notify_class_of,
)
from tim_server.matrix.push_rules.replaced_room import with_rules_for_replacement
from tim_server.matrix.push_rules.rules import PushRule, RuleKind, RuleSet, read_user_rule
from tim_server.matrix.push_rules.saved_rules import read_saved_rules, save_user_rules
from tim_server.matrix.push_rules.triggers import Trigger, costly_conditions, folded, words_in
from tim_server.matrix.push_rules.user_rules import (
    DefaultRuleChange,
    UserRules,
    effective_rules,
    with_actions,
    with_enabled,
    with_rule,
    without_rule,
)

__all__ = [
    "DEFAULT_FORECAST",
    "DEFAULT_RULES_OF_OTHERS",
    "NOTHING",
    "RULE_OF_CLASS",
    "Action",
    "DefaultRuleChange",
    "Forecast",
    "NotifyClass",
    "NotifyLevel",
    "Outcome",
    "PushContext",
    "PushRule",
    "RuleKind",
    "RuleSet",
    "Trigger",
    "UserRules",
    "costly_conditions",
    "default_rules",
    "effective_rules",
    "evaluate",
    "folded",
    "forecast_of",
    "is_certain_everywhere",
    "level_of",
    "notification_levels",
    "notify_class_of",
    "pushed_event",
    "read_actions",
    "read_saved_rules",
    "read_user_rule",
    "save_user_rules",
    "users_named_by",
    "with_actions",
    "with_enabled",
    "with_rule",
    "with_rules_for_replacement",
    "without_rule",
    "words_in",
]
