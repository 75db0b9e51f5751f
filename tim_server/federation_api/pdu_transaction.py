"""The form in which PDUs are given that were asked for: that of a transaction."""

import time
from collections.abc import Iterable

from tim_server.matrix.identifiers import ServerName
from tim_server.web.response_model import RawJson, ResponseModel


class PduTransaction(ResponseModel):
    """PDUs, who tells them, and when (milliseconds since the epoch)."""

    origin: str
    origin_server_ts: int
    pdus: list[RawJson]


def pdu_transaction(origin: ServerName, pdus: Iterable[bytes]) -> PduTransaction:
    """The answer of this server with these PDUs."""
    return PduTransaction(
        origin=origin, origin_server_ts=time.time_ns() // 1_000_000, pdus=[RawJson(pdu) for pdu in pdus]
    )
