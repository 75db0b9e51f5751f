"""What a decision changes of the resolved memberships, and who is joined then."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.memberships import MemberStep, membership_steps
from tim_server.services.rooms.branches import StateNids
from tim_server.services.rooms.decide import membership_of
from tim_server.services.rooms.head import joined_servers_after
from tim_server.services.rooms.member_content import MEMBER
from tim_server.storage.new_events import NewEvent
from tim_server.storage.room_commit_records import MembershipChange

Joined = Mapping[str, int]


async def changed_memberships(
    load: Callable[[Sequence[int]], Awaitable[Mapping[int, Event]]],
    before: StateNids,
    after: StateNids,
    events: Sequence[NewEvent],
    joined: Joined,
) -> tuple[tuple[MembershipChange, ...], Joined]:
    """The changes from one resolved state to another with these new events, in order, and the count of joined members
    by server, which was `joined` before. `load` gives parsed member events, stored or new."""
    positioned = [index for index, event in enumerate(events) if not event.outlier]
    if after is before and not any(events[index].type == MEMBER for index in positioned):
        return (), joined
    old, new = _members_of(before), _members_of(after)
    steps = [
        MemberStep(index=index, user_id=event.state_key, nid=event.nid, replaces=event.replaces)
        for index in positioned
        if (event := events[index]).type == MEMBER and event.state_key is not None
    ]
    last = positioned[-1] if positioned else max(len(events) - 1, 0)
    changes = membership_steps(old, steps, new, last)
    parsed = await load([n for _, user, nid in changes for n in (nid, old.get(user)) if n is not None])
    running, rows = dict(old), []
    for index, user, nid in changes:
        replaced = running.get(user)
        membership = "leave" if nid is None else membership_of(parsed[nid])
        was = None if replaced is None else membership_of(parsed[replaced])
        joined = joined_servers_after(joined, UserId(user), was, membership)
        running[user] = shown = nid or replaced or 0
        rows.append(MembershipChange(event_index=index, user_id=UserId(user), membership=membership, event_nid=shown))
    return tuple(rows), joined


def _members_of(state: StateNids) -> dict[str, int]:
    """The member events of a state, by user."""
    return {key[1]: nid for key, nid in state.items() if key[0] == MEMBER}
