"""Event authorisation rules of every room version."""

from tim_server.matrix.event_auth.rules import check_auth_rules
from tim_server.matrix.event_auth.selection import StateMap, auth_types_for, check_auth_events

__all__ = ["StateMap", "auth_types_for", "check_auth_events", "check_auth_rules"]
