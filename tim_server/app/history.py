"""The services that fetch history from other servers."""

from tim_server.app.parts import Parts, now_ms
from tim_server.services.rooms.remote.backfill import Backfill
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.fetch_events import EventFetch
from tim_server.services.rooms.remote.fetch_history import HistoryFetch
from tim_server.services.rooms.remote.outliers import Outliers
from tim_server.services.rooms.remote.place_history import HistoryPlacement
from tim_server.services.rooms.remote.state_before import StateBefore
from tim_server.services.rooms.remote.take_in_state import StateIntake


def make_backfill(parts: Parts) -> Backfill:
    """Build what fills the holes of timelines."""
    store, federation = parts.store, parts.federation
    check = PduCheck(keys=federation.keys)
    outliers = Outliers(store=store, parsed=parts.parsed)
    events = EventFetch(client=federation.client, check=check, outliers=outliers)
    intake = StateIntake(check=check, outliers=outliers, parsed=parts.parsed)
    return Backfill(
        server_name=parts.author.server_name,
        store=store,
        heads=parts.heads,
        fetching=HistoryFetch(
            store=store,
            client=federation.client,
            check=check,
            gate=federation.gate,
            states=StateBefore(store=store, client=federation.client, fetching=events, intake=intake),
            events=events,
            placement=HistoryPlacement(store=store, parsed=parts.parsed, resolver=parts.resolver),
        ),
        now_ms=now_ms,
    )
