"""What other servers push to this one: `transactions.yaml`."""

from typing import Any

from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.transactions.receive import Transaction
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route

TRANSACTION_BYTES_MAX = 10 * 2**20
"""50 PDUs and 100 EDUs of 64 KiB, and their commas."""


class SendTransactionRequest(RequestModel):
    """Events and short-lived data; who pushes them, the signature of the request says."""

    txn_id: InPath[str]
    pdus: tuple[Any, ...] = ()
    edus: tuple[Any, ...] = ()


async def send_transaction(server: Homeserver, origin: ServerName, request: SendTransactionRequest) -> RawJson:
    """`PUT /_matrix/federation/v1/send/{txnId}`: take in events and short-lived data; what is answered is stored.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1sendtxnid
    """
    transaction = Transaction(origin=origin, txn_id=request.txn_id, pdus=request.pdus, edus=request.edus)
    return RawJson(await server.transaction_receiver.receive(transaction))


ROUTES = (
    Route(
        "PUT",
        "/_matrix/federation/v1/send/{txnId}",
        send_transaction,
        auth=Auth.SERVER,
        body_size_max_bytes=TRANSACTION_BYTES_MAX,
        deep_json_ok=True,
    ),
)
