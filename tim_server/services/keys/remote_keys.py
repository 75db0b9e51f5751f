"""Keys of users of other servers: asked for when somebody wants them, and remembered while they are told of changes.

A change that another server tells of makes what is remembered stale, whatever it says besides: the next who wants the
keys asks again. So no update is ever applied wrongly, and one that is lost does no more harm than that.

Spec: https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.egress.errors import ContactRefused, OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.device_keys import query_keys
from tim_server.federation.errors import RemoteError
from tim_server.matrix.end_to_end.cross_signing import (
    MASTER,
    SELF_SIGNING,
    CrossSigningKey,
    check_signed_by_master,
    read_cross_signing_key,
)
from tim_server.matrix.end_to_end.device_keys import read_device_keys
from tim_server.matrix.end_to_end.signed_objects import encode_object
from tim_server.matrix.errors import Forbidden, MatrixError, Unknown
from tim_server.matrix.events.read import is_key_storable
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.turns import in_turns
from tim_server.storage.cross_signing_keys import StoredCrossSigningKey
from tim_server.storage.database import Connection
from tim_server.storage.remote_device_lists import Freshness, RemoteKeys, find_fresh, replace_remote_keys
from tim_server.storage.store import Store

USERS_PER_REQUEST = 250
DEVICES_PER_USER_MAX = 1_000
FETCH_TIMEOUT_S = 30.0

Failures = dict[ServerName, MatrixError]


@dataclass(frozen=True, slots=True)
class _Fetch:
    """A request in flight, and the clock before it was made."""

    began: int
    task: "asyncio.Task[None]"


@dataclass(slots=True, kw_only=True)
class RemoteKeyCache:
    """Brings the stored keys of users of other servers up to date."""

    store: Store
    client: FederationClient
    _fetches: dict[UserId, _Fetch] = field(default_factory=dict)

    async def refresh(self, user_ids: Collection[UserId], *, timeout_s: float) -> Failures:
        """Have the keys of these users stored as they are now; what went wrong, by server. Whoever asks for the same
        user meanwhile waits for the same answer."""
        if not user_ids:
            return {}
        async with self.store.database.connection() as connection:
            known = await find_fresh(connection, self.client.author.server_name, user_ids)
        stale = {user_id: freshness for user_id, freshness in known.items() if not freshness.is_fresh}
        fetches = self._fetches_of(stale)
        if fetches:
            await asyncio.wait({fetch.task for fetch in fetches.values()}, timeout=timeout_s)
        return {
            user_id.server_name: failure
            for user_id, fetch in fetches.items()
            if (failure := _failure_of(fetch.task)) is not None
        }

    def _fetches_of(self, stale: Mapping[UserId, Freshness]) -> dict[UserId, _Fetch]:
        """The requests that bring the keys of these users; new ones where none is in flight that began after the newest
        change."""
        missing: dict[ServerName, list[UserId]] = {}
        for user_id, freshness in stale.items():
            fetch = self._fetches.get(user_id)
            if fetch is None or fetch.began < freshness.changed:
                missing.setdefault(user_id.server_name, []).append(user_id)
        for server_name, user_ids in missing.items():
            for start in range(0, len(user_ids), USERS_PER_REQUEST):
                self._begin(server_name, user_ids[start : start + USERS_PER_REQUEST])
        return {user_id: self._fetches[user_id] for user_id in stale}

    def _begin(self, server_name: ServerName, user_ids: Sequence[UserId]) -> None:
        began = self.store.commit_log.position
        task = asyncio.create_task(self._fetch(server_name, user_ids, began), name="fetch-keys")
        fetch = _Fetch(began, task)
        self._fetches.update(dict.fromkeys(user_ids, fetch))

        def end(_task: "asyncio.Task[None]") -> None:
            for user_id in user_ids:
                if self._fetches.get(user_id) is fetch:
                    del self._fetches[user_id]

        task.add_done_callback(end)

    async def _fetch(self, server_name: ServerName, user_ids: Sequence[UserId], began: int) -> None:
        answer = await query_keys(self.client, server_name, user_ids, timeout_s=FETCH_TIMEOUT_S)
        found = [keys async for keys in _read_answer(answer, user_ids)]
        await self.store.writer.write(_Replace(store_=self.store, asked=user_ids, found=found, began=began))


def _failure_of(task: "asyncio.Task[None]") -> MatrixError | None:
    if not task.done() or task.cancelled():
        return Unknown("The server does not answer in time")
    error = task.exception()
    return None if error is None else as_failure(error)


def not_in_federation() -> Forbidden:
    """What clients are told of a server that the trust gate refuses."""
    return Forbidden("The server is not part of the federation of this server")


def as_failure(error: BaseException) -> MatrixError:
    """An error of asking another server, as clients are told of it; any other error is raised."""
    if isinstance(error, ContactRefused):
        return not_in_federation()
    if isinstance(error, OutgoingError | RemoteError):
        return Unknown("The server can't be reached")
    if isinstance(error, MatrixError):
        return error
    raise error


async def _read_answer(answer: Mapping[str, Any], asked: Iterable[UserId]) -> AsyncIterator[RemoteKeys]:
    """The keys of those of the users that exist; what is not as it should be is left out."""
    by_kind = {kind: _object(answer.get(kind)) for kind in ("device_keys", "master_keys", "self_signing_keys")}
    async for user_id in in_turns(asked):
        devices = by_kind["device_keys"].get(user_id)
        if not isinstance(devices, dict):
            continue
        master = _cross_signing_key(by_kind["master_keys"].get(user_id), MASTER, user_id)
        self_signing = _cross_signing_key(by_kind["self_signing_keys"].get(user_id), SELF_SIGNING, user_id)
        if master is None or (self_signing is not None and not _is_signed_by(self_signing, user_id, master)):
            self_signing = None
        yield RemoteKeys(
            user_id=user_id,
            devices=_device_keys(devices, user_id),
            cross_signing=[_stored(key, user_id) for key in (master, self_signing) if key is not None],
        )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _device_keys(devices: Mapping[str, Any], user_id: UserId) -> dict[str, bytes]:
    kept: dict[str, bytes] = {}
    for device_id, value in list(devices.items())[:DEVICES_PER_USER_MAX]:
        try:
            if is_key_storable(device_id):
                kept[device_id] = encode_object(read_device_keys(value, user_id, device_id))
        except (MatrixError, AttributeError, TypeError):
            continue
    return kept


def _cross_signing_key(value: Any, usage: str, user_id: UserId) -> CrossSigningKey | None:
    try:
        return None if value is None else read_cross_signing_key(value, usage, user_id)
    except (MatrixError, AttributeError, TypeError):
        return None


def _is_signed_by(key: CrossSigningKey, user_id: UserId, master: CrossSigningKey) -> bool:
    try:
        check_signed_by_master(key, user_id, master.public_key)
    except MatrixError:
        return False
    return True


def _stored(key: CrossSigningKey, user_id: UserId) -> StoredCrossSigningKey:
    return StoredCrossSigningKey(user_id, key.usage, key.public_key, encode_object(key.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replace:
    """Concerns nobody: who was told of a change asks when they want the keys."""

    store_: Store
    asked: Sequence[UserId]
    found: Sequence[RemoteKeys]
    began: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await replace_remote_keys(tx, self.store_.codec, self.asked, self.found, position=self.began)
