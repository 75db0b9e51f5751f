"""Key backups: `key_backup.yaml`."""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import Field

from tim_server.matrix.errors import NotFound
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.json_values import encode_json
from tim_server.services.key_backup.keys import BackupState, WantedPart
from tim_server.storage.key_backups import BackupKey, BackupVersion
from tim_server.web.request_model import InPath, InQuery, RequestModel, WholeBody
from tim_server.web.response_model import EmptyResponse, RawJson, ResponseModel
from tim_server.web.route import Route

Count = Annotated[int, Field(ge=0, lt=2**53)]


class PostRoomKeysVersionRequest(RequestModel):
    """How keys are encrypted, and with what."""

    algorithm: str
    auth_data: Any


class PostRoomKeysVersionResponse(ResponseModel):
    """The name of the new version."""

    version: str


async def post_room_keys_version(
    server: Homeserver, requester: Requester, request: PostRoomKeysVersionRequest
) -> PostRoomKeysVersionResponse:
    """`POST /_matrix/client/v3/room_keys/version`: begin a new backup, which is the current one from now on.

    No name of a version is ever used again.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3room_keysversion
    """
    version = await server.backup_versions.create(requester.user_id, request.algorithm, request.auth_data)
    return PostRoomKeysVersionResponse(version=version)


class GetRoomKeysVersionCurrentRequest(RequestModel):
    """Nothing."""


class RoomKeysVersionResponse(ResponseModel):
    """A version, how many keys it holds, and an etag that changes with them."""

    algorithm: str
    auth_data: RawJson
    count: int
    etag: str
    version: str

    @classmethod
    def of(cls, version: BackupVersion) -> "RoomKeysVersionResponse":
        """The response for a version that is not deleted."""
        assert version.auth_data is not None
        return cls(
            algorithm=version.algorithm,
            auth_data=RawJson(version.auth_data),
            count=version.key_count,
            etag=str(version.etag),
            version=str(version.version),
        )


async def get_room_keys_version_current(
    server: Homeserver, requester: Requester, request: GetRoomKeysVersionCurrentRequest
) -> RoomKeysVersionResponse:
    """`GET /_matrix/client/v3/room_keys/version`: the current backup; 404 where there is none.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversion
    """
    return RoomKeysVersionResponse.of(await server.backup_versions.current(requester.user_id))


class GetRoomKeysVersionRequest(RequestModel):
    """Which version."""

    version: InPath[str]


async def get_room_keys_version(
    server: Homeserver, requester: Requester, request: GetRoomKeysVersionRequest
) -> RoomKeysVersionResponse:
    """`GET /_matrix/client/v3/room_keys/version/{version}`: a backup; 404 where there is none, or it was deleted.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversionversion
    """
    return RoomKeysVersionResponse.of(await server.backup_versions.get(requester.user_id, request.version))


class PutRoomKeysVersionRequest(RequestModel):
    """The new `auth_data`; nothing else may change."""

    version: InPath[str]
    algorithm: str
    auth_data: Any
    version_in_body: str | None = Field(default=None, alias="version")


async def put_room_keys_version(
    server: Homeserver, requester: Requester, request: PutRoomKeysVersionRequest
) -> EmptyResponse:
    """`PUT /_matrix/client/v3/room_keys/version/{version}`: replace the `auth_data` of a backup.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keysversionversion
    """
    await server.backup_versions.update(
        requester.user_id,
        request.version,
        algorithm=request.algorithm,
        auth_data=request.auth_data,
        version_in_body=request.version_in_body,
    )
    return EmptyResponse()


async def delete_room_keys_version(
    server: Homeserver, requester: Requester, request: GetRoomKeysVersionRequest
) -> EmptyResponse:
    """`DELETE /_matrix/client/v3/room_keys/version/{version}`: delete a backup with its keys, for good.

    The newest that remains is the current one. Deleting it once more succeeds.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keysversionversion
    """
    await server.backup_versions.delete(requester.user_id, request.version)
    return EmptyResponse()


class KeyBackupData(RequestModel):
    """The key of a session, encrypted."""

    first_message_index: Count
    forwarded_count: Count
    is_verified: bool
    session_data: Any

    def to_key(self, room_id: str, session_id: str) -> BackupKey:
        """The key as it is stored."""
        return BackupKey(
            room_id=room_id,
            session_id=session_id,
            first_message_index=self.first_message_index,
            forwarded_count=self.forwarded_count,
            is_verified=self.is_verified,
            session_data=encode_json(self.session_data),
        )


class RoomKeyBackup(RequestModel):
    """The keys of a room by session."""

    sessions: dict[str, KeyBackupData]

    def to_keys(self, room_id: str) -> list[BackupKey]:
        """The keys as they are stored."""
        return [data.to_key(room_id, session_id) for session_id, data in self.sessions.items()]


class RoomKeysUpdateResponse(ResponseModel):
    """How many keys the backup holds, and an etag that changes with them."""

    count: int
    etag: str

    @classmethod
    def of(cls, state: BackupState) -> "RoomKeysUpdateResponse":
        """The response for a backup as it is now."""
        return cls(count=state.count, etag=state.etag)


class GetRoomKeysRequest(RequestModel):
    """Which version."""

    version: InQuery[str]


class GetRoomKeysByRoomIdRequest(GetRoomKeysRequest):
    """Which version, and which room."""

    room_id: InPath[str]


class GetRoomKeyBySessionIdRequest(GetRoomKeysByRoomIdRequest):
    """Which version, which room, and which session."""

    session_id: InPath[str]


class PutRoomKeysRequest(GetRoomKeysRequest):
    """Keys by room and session."""

    rooms: dict[str, RoomKeyBackup]


async def put_room_keys(
    server: Homeserver, requester: Requester, request: PutRoomKeysRequest
) -> RoomKeysUpdateResponse:
    """`PUT /_matrix/client/v3/room_keys/keys`: store keys in the current backup.

    A key takes the place of another only where it is better; those that are not stored are no error.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeys
    """
    keys = [key for room_id, of_room in request.rooms.items() for key in of_room.to_keys(room_id)]
    return RoomKeysUpdateResponse.of(await server.backup_keys.put(requester.user_id, request.version, keys))


class PutRoomKeysByRoomIdRequest(GetRoomKeysByRoomIdRequest):
    """Keys of a room by session."""

    sessions: dict[str, KeyBackupData]


async def put_room_keys_by_room_id(
    server: Homeserver, requester: Requester, request: PutRoomKeysByRoomIdRequest
) -> RoomKeysUpdateResponse:
    """`PUT /_matrix/client/v3/room_keys/keys/{roomId}`: store keys of a room, as `put_room_keys`.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeysroomid
    """
    keys = RoomKeyBackup(sessions=request.sessions).to_keys(request.room_id)
    return RoomKeysUpdateResponse.of(await server.backup_keys.put(requester.user_id, request.version, keys))


class PutRoomKeyBySessionIdRequest(GetRoomKeyBySessionIdRequest):
    """The key of a session."""

    data: WholeBody[KeyBackupData]


async def put_room_key_by_session_id(
    server: Homeserver, requester: Requester, request: PutRoomKeyBySessionIdRequest
) -> RoomKeysUpdateResponse:
    """`PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`: store the key of a session, as `put_room_keys`.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeysroomidsessionid
    """
    keys = [request.data.to_key(request.room_id, request.session_id)]
    return RoomKeysUpdateResponse.of(await server.backup_keys.put(requester.user_id, request.version, keys))


async def get_room_keys(server: Homeserver, requester: Requester, request: GetRoomKeysRequest) -> RawJson:
    """`GET /_matrix/client/v3/room_keys/keys`: all keys of a backup, perhaps none.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeys
    """
    by_room = await server.backup_keys.get(requester.user_id, WantedPart(version=request.version))
    rooms = (b"%b:%b" % (orjson.dumps(room_id), _sessions_json(of_room)) for room_id, of_room in by_room.items())
    return RawJson(b'{"rooms":{%b}}' % b",".join(rooms))


async def get_room_keys_by_room_id(
    server: Homeserver, requester: Requester, request: GetRoomKeysByRoomIdRequest
) -> RawJson:
    """`GET /_matrix/client/v3/room_keys/keys/{roomId}`: the keys of a room, perhaps none.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomid
    """
    wanted = WantedPart(version=request.version, room_id=request.room_id)
    by_room = await server.backup_keys.get(requester.user_id, wanted)
    return RawJson(_sessions_json(by_room.get(request.room_id, {})))


async def get_room_key_by_session_id(
    server: Homeserver, requester: Requester, request: GetRoomKeyBySessionIdRequest
) -> RawJson:
    """`GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`: the key of a session; 404 where there is none.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomidsessionid
    """
    wanted = WantedPart(version=request.version, room_id=request.room_id, session_id=request.session_id)
    by_room = await server.backup_keys.get(requester.user_id, wanted)
    if not by_room:
        raise NotFound("There is no such key")
    return RawJson(by_room[request.room_id][request.session_id])


async def delete_room_keys(
    server: Homeserver, requester: Requester, request: GetRoomKeysRequest
) -> RoomKeysUpdateResponse:
    """`DELETE /_matrix/client/v3/room_keys/keys`: remove all keys of a backup.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeys
    """
    wanted = WantedPart(version=request.version)
    return RoomKeysUpdateResponse.of(await server.backup_keys.delete(requester.user_id, wanted))


async def delete_room_keys_by_room_id(
    server: Homeserver, requester: Requester, request: GetRoomKeysByRoomIdRequest
) -> RoomKeysUpdateResponse:
    """`DELETE /_matrix/client/v3/room_keys/keys/{roomId}`: remove the keys of a room.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeysroomid
    """
    wanted = WantedPart(version=request.version, room_id=request.room_id)
    return RoomKeysUpdateResponse.of(await server.backup_keys.delete(requester.user_id, wanted))


async def delete_room_key_by_session_id(
    server: Homeserver, requester: Requester, request: GetRoomKeyBySessionIdRequest
) -> RoomKeysUpdateResponse:
    """`DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`: remove the key of a session.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeysroomidsessionid
    """
    wanted = WantedPart(version=request.version, room_id=request.room_id, session_id=request.session_id)
    return RoomKeysUpdateResponse.of(await server.backup_keys.delete(requester.user_id, wanted))


def _sessions_json(keys: Mapping[str, bytes]) -> bytes:
    sessions = (b"%b:%b" % (orjson.dumps(session_id), key) for session_id, key in keys.items())
    return b'{"sessions":{%b}}' % b",".join(sessions)


ROUTES = (
    Route("POST", "/_matrix/client/v3/room_keys/version", post_room_keys_version),
    Route("GET", "/_matrix/client/v3/room_keys/version", get_room_keys_version_current),
    Route("GET", "/_matrix/client/v3/room_keys/version/{version}", get_room_keys_version),
    Route("PUT", "/_matrix/client/v3/room_keys/version/{version}", put_room_keys_version),
    Route("DELETE", "/_matrix/client/v3/room_keys/version/{version}", delete_room_keys_version),
    Route("PUT", "/_matrix/client/v3/room_keys/keys", put_room_keys),
    Route("PUT", "/_matrix/client/v3/room_keys/keys/{roomId}", put_room_keys_by_room_id),
    Route("PUT", "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", put_room_key_by_session_id),
    Route("GET", "/_matrix/client/v3/room_keys/keys", get_room_keys),
    Route("GET", "/_matrix/client/v3/room_keys/keys/{roomId}", get_room_keys_by_room_id),
    Route("GET", "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", get_room_key_by_session_id),
    Route("DELETE", "/_matrix/client/v3/room_keys/keys", delete_room_keys),
    Route("DELETE", "/_matrix/client/v3/room_keys/keys/{roomId}", delete_room_keys_by_room_id),
    Route("DELETE", "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", delete_room_key_by_session_id),
)
