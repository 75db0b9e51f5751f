"""Changes of resolved memberships along a room's timeline: one rule, for what is stored now and for what is rebuilt.

A member event takes effect at its place where it replaces the member event in force; what the resolved state says
otherwise at the end takes effect there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStep:
    """A member event in timeline order, by nid: whose membership, and which event it replaced."""

    index: int
    user_id: str
    nid: int
    replaces: int | None


def membership_steps(
    before: Mapping[str, int], steps: Sequence[MemberStep], after: Mapping[str, int], last_index: int
) -> list[tuple[int, str, int | None]]:
    """From the member events in force `before` by user, through `steps`, to those `after`: (index, user, nid) of each
    change, nid None where the state no longer says anything of the user. One change a user and index."""
    running = dict(before)
    changes: dict[tuple[int, str], int | None] = {}
    for step in steps:
        if running.get(step.user_id) == step.replaces:
            running[step.user_id] = step.nid
            changes[step.index, step.user_id] = step.nid
    for user_id in running.keys() | after.keys():
        nid = after.get(user_id)
        if running.get(user_id) != nid:
            changes[last_index, user_id] = nid
    return [(index, user_id, nid) for (index, user_id), nid in sorted(changes.items(), key=lambda item: item[0])]
