"""The services of what passes: receipts, typing, presence."""

from typing import Any

from tim_server.app.accounts import Services
from tim_server.app.parts import Parts, now_ms
from tim_server.background.supervise import Loop
from tim_server.services.account_data.keep import AccountData
from tim_server.services.receipts.mark_read import ReadMarkers
from tim_server.services.typing.set_typing import Typing

SWEEP_INTERVAL_S = 5.0


def ephemeral_services(parts: Parts, account_data: AccountData) -> Services:
    """Build them over the store."""
    store = parts.store
    common: dict[str, Any] = {"database": store.database, "writer": store.writer, "now_ms": now_ms}
    read_markers = ReadMarkers(
        codec=store.codec, visibility=parts.client_events.visibility, account_data=account_data, **common
    )
    typing = Typing(timeout_ms_max=parts.settings.limits.typing_timeout_ms_max, **common)
    store.commit_log.subscribe(typing.follow)
    return Services(
        fields={"read_markers": read_markers, "typing": typing},
        closers=(typing.close,),
        loops=(Loop(name="end typing", interval_s=SWEEP_INTERVAL_S, work=typing.sweep),),
    )
