"""The services by which other servers read the rooms that this server is in."""

from typing import Any

from tim_server.app.parts import Parts
from tim_server.services.events.server_visibility import ServerVisibility
from tim_server.services.rooms.resident.admit import Admission
from tim_server.services.rooms.resident.event import ResidentEvent
from tim_server.services.rooms.resident.event_by_time import ResidentEventByTime
from tim_server.services.rooms.resident.history import ResidentHistory
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.rooms.resident.state import ResidentState


def resident_reading(parts: Parts) -> dict[str, Any]:
    """Build them over the store and what clients read with."""
    store = parts.store
    participation = Participation(server_name=parts.author.server_name, heads=parts.heads, parsed=parts.parsed)
    common: dict[str, Any] = {
        "admission": Admission(participation=participation, database=store.database),
        "database": store.database,
        "codec": store.codec,
        "visibility": ServerVisibility(visibility=parts.client_events.visibility),
    }
    return {
        "resident_history": ResidentHistory(limit_max=parts.tenant.federation.backfill_events_max, **common),
        "resident_event": ResidentEvent(**common),
        "resident_event_by_time": ResidentEventByTime(**common),
        "resident_state": ResidentState(snapshots=store.snapshots, **common),
    }
