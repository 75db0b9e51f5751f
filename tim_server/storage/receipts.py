"""Receipts: how far each user has read in each room, and in each thread of it. Not derived from the event log.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receipts
"""

from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="receipts",
        owner="services.rooms",
        bound="one row a user, room, type and thread that was read",
        reaper="room purge, erasure of the account",
    ),
)
