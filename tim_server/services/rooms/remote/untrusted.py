"""Events of servers that the trust gate does not let in, which others bring along: where something stands on them they
are kept, and shown to nobody.
"""

from collections.abc import Sequence

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.services.trust.gate import ChokePoint, TrustGate


async def untrusted(gate: TrustGate, events: Sequence[Event]) -> set[EventId]:
    """Which of the events are such."""
    servers = {event.sender.server_name for event in events} - {gate.server_name}
    refused = await gate.refused(ChokePoint.INCOMING_FEDERATION, servers)
    return {event.event_id for event in events if event.sender.server_name in refused}
