"""The services that fetch history from other servers."""

from dataclasses import dataclass

from tim_server.app.parts import Parts, now_ms
from tim_server.services.rooms.remote.backfill import Backfill
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.fetch_events import EventFetch
from tim_server.services.rooms.remote.fetch_history import HistoryFetch
from tim_server.services.rooms.remote.outliers import Outliers
from tim_server.services.rooms.remote.place_history import HistoryPlacement
from tim_server.services.rooms.remote.reach_history import HistoryReach
from tim_server.services.rooms.remote.state_before import StateBefore
from tim_server.services.rooms.remote.take_in_state import StateIntake


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReading:
    """What has events and states of other servers stored."""

    events: EventFetch
    states: StateBefore


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFetching:
    """What fills the holes of timelines, and what reaches into them."""

    backfill: Backfill
    reach: HistoryReach


def state_reading(parts: Parts) -> StateReading:
    """Build what asks for events and states."""
    store, federation = parts.store, parts.federation
    check = PduCheck(keys=federation.keys)
    outliers = Outliers(store=store, parsed=parts.parsed)
    events = EventFetch(client=federation.client, check=check, outliers=outliers)
    intake = StateIntake(check=check, outliers=outliers, parsed=parts.parsed)
    states = StateBefore(store=store, client=federation.client, fetching=events, intake=intake)
    return StateReading(events=events, states=states)


def make_history_fetching(parts: Parts) -> HistoryFetching:
    """Build both over what asks other servers."""
    store, federation = parts.store, parts.federation
    reading = state_reading(parts)
    fetching = HistoryFetch(
        store=store,
        client=federation.client,
        check=PduCheck(keys=federation.keys),
        gate=federation.gate,
        states=reading.states,
        events=reading.events,
        placement=HistoryPlacement(store=store, parsed=parts.parsed, resolver=parts.resolver),
    )
    own = parts.author.server_name
    return HistoryFetching(
        backfill=Backfill(server_name=own, store=store, heads=parts.heads, fetching=fetching, now_ms=now_ms),
        reach=HistoryReach(server_name=own, client=federation.client, heads=parts.heads, fetching=fetching),
    )
