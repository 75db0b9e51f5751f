"""Event authorisation rules of every room version."""

from tim_server.matrix.event_auth.rules import check_auth_rules
from tim_server.matrix.event_auth.selection import StateMap, auth_ids, auth_types_for, check_auth_events, create_id_of

__all__ = ["StateMap", "auth_ids", "auth_types_for", "check_auth_events", "check_auth_rules", "create_id_of"]
