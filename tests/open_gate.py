"""A trust gate that lets everybody through, for services that a test builds by hand."""

from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.decisions import DecisionLog
from tim_server.services.trust.gate import TrustGate
from tim_server.services.trust.knowledge import TrustKnowledge
from tim_server.storage.store import Store
from tim_server.trust.profiles import OPEN


def open_gate(store: Store, server_name: ServerName) -> TrustGate:
    """The gate of a homeserver with the open profile."""
    return TrustGate(
        server_name=server_name,
        knowledge=TrustKnowledge(own_name=server_name, rules=OPEN),
        decisions=DecisionLog(database=store.database, writer=store.writer, now_ms=lambda: 0, kept_max=100),
    )
