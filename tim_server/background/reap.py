"""Reaping: loops that remove rows which nobody needs any more."""

from collections.abc import Awaitable, Callable
from functools import partial

from tim_server.background.supervise import Loop
from tim_server.storage import (
    announced_media,
    client_transactions,
    commit_log,
    key_backups,
    notifications,
    outside_memberships,
    presence,
    quarantined_media,
    received_transactions,
    remote_device_lists,
    rooms_not_entered,
    to_device,
    to_device_outbox,
    typing,
)
from tim_server.storage.database import Connection
from tim_server.storage.store import Store

HOUR_S = 3600.0


def reaping_loops(store: Store) -> tuple[Loop, ...]:
    """The loops of one homeserver."""
    reapers: dict[str, Callable[[Connection], Awaitable[None]]] = {
        "announced_media": announced_media.reap,
        "commits": commit_log.trim,
        "client_transactions": client_transactions.reap,
        "key_backups": key_backups.reap,
        "to_device_transactions": to_device.reap,
        "received_transactions": received_transactions.reap,
        "to_device_outbox": to_device_outbox.reap,
        "remote_device_lists": remote_device_lists.reap,
        "quarantined_media": quarantined_media.reap,
        "notifications": notifications.reap,
        "outside_memberships": outside_memberships.reap,
        "typing": typing.reap,
        "presence_devices": presence.reap,
    }
    return (
        *(
            Loop(name=f"reap {table}", interval_s=HOUR_S, work=partial(_reap, store, reaper))
            for table, reaper in reapers.items()
        ),
        Loop(name="reap rooms that were not entered", interval_s=HOUR_S, work=partial(_reap_rooms, store)),
    )


async def _reap(store: Store, reaper: Callable[[Connection], Awaitable[None]]) -> None:
    async with store.database.transaction() as tx:
        await reaper(tx)


async def _reap_rooms(store: Store) -> None:
    """A large room goes in several transactions."""
    more = True
    while more:
        async with store.database.transaction() as tx:
            more = await rooms_not_entered.reap_some(tx)
