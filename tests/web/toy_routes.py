"""Routes of an imaginary API that the web tests serve."""

import asyncio
from typing import Any, Literal

from pydantic import Field

from tim_server.matrix.errors import Forbidden, UnknownToken
from tim_server.web.context import current_request
from tim_server.web.fields import RoomId, UserId
from tim_server.web.read_body import BodyStream
from tim_server.web.request_model import InPath, InQuery, RequestModel, StreamedBody, WholeBody
from tim_server.web.response_model import (
    UNSET,
    Binary,
    EmptyResponse,
    RawJson,
    Redirect,
    ResponseModel,
    StreamedJson,
    UnsetType,
    WithStatus,
)
from tim_server.web.route import Auth, Route

V3 = "/_matrix/client/v3"
SEND = f"{V3}/rooms/!r:example.org/send/m.room.message/txn1"


class Nothing(RequestModel):
    pass


class SendRequest(RequestModel):
    room_id: InPath[RoomId]
    event_type: InPath[str]
    txn_id: InPath[str]
    content: WholeBody[dict[str, Any]]


class SendResponse(ResponseModel, kw_only=True):
    event_id: str
    chunk: list[RawJson]
    end: str | UnsetType = UNSET


class InviteRequest(RequestModel):
    room_id: InPath[RoomId]
    user_id: UserId
    reason: str | None = None


class MessagesRequest(RequestModel):
    room_id: InPath[RoomId]
    dir: InQuery[Literal["b", "f"]]
    limit: InQuery[int] = Field(default=10, ge=0)


class LeaveRequest(RequestModel):
    reason: str | None = None


class UploadRequest(RequestModel):
    body: StreamedBody[BodyStream]


class FailRequest(RequestModel):
    how: InQuery[str]


async def get_versions(server, request: Nothing):
    return RawJson(b'{"versions":["v1.18"]}')


async def send_message(server, requester, request: SendRequest):
    server.events.append((requester.user_id, request.room_id, request.event_type, request.txn_id, request.content))
    return SendResponse(event_id="$e", chunk=[RawJson(b'{"spliced": true}')])


async def invite_user(server, requester, request: InviteRequest):
    server.events.append(request.user_id)
    return EmptyResponse()


async def get_messages(server, requester, request: MessagesRequest):
    return {"dir": request.dir, "limit": request.limit}


async def leave(server, requester, request: LeaveRequest):
    server.events.append(request.reason)
    return EmptyResponse()


async def logout(server, requester, request: Nothing):
    return EmptyResponse()


async def whoami(server, requester, request: Nothing):
    context = current_request()
    return {
        "user_id": None if requester is None else requester.user_id,
        "server": server.name,
        "address": context.client_address,
        "scheme": context.scheme,
        "user_agent": context.user_agent,
    }


async def upload(server, requester, request: UploadRequest):
    sizes = [len(chunk) async for chunk in request.body]
    return {"size": sum(sizes), "type": request.body.content_type, "announced": request.body.length_bytes}


async def get_page(server, request: Nothing):
    return Binary(body=b"<p>", content_type="text/html; charset=utf-8", headers={"X-Page": "1"})


async def get_redirect(server, request: Nothing):
    return Redirect(location="https://idp.example.org/?a=b")


async def get_created(server, request: Nothing):
    return WithStatus(201, EmptyResponse(), {"ETag": '"1"'})


async def get_pieces(server, request: FailRequest):
    async def pieces():
        yield b"["
        for number in range(3):
            if number == 2 and request.how == "broken":
                raise KeyError("Diagnosis: secret")
            yield b"%d," % number
        yield b"3]"

    return StreamedJson(pieces=pieces())


async def fail(server, request: FailRequest):
    if request.how == "matrix":
        raise Forbidden("Not you")
    if request.how == "token":
        raise UnknownToken(soft_logout=True)
    if request.how == "cancelled":
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future
    raise KeyError("Diagnosis: secret")


async def slow_write(server, requester, request: Nothing):
    server.events.append("begun")
    await asyncio.sleep(0.3)
    server.events.append("done")
    return EmptyResponse()


async def slow_read(server, requester, request: Nothing):
    server.events.append("begun")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        server.events.append("cancelled")
        raise
    return EmptyResponse()


async def long_poll(server, requester, request: Nothing):
    server.events.append("begun")
    await current_request().shutting_down.wait()
    return {"woken": True}


ROUTES = (
    Route("GET", "/_matrix/client/versions", get_versions, Auth.NONE),
    Route("PUT", f"{V3}/rooms/{{roomId}}/send/{{eventType}}/{{txnId}}", send_message),
    Route("POST", f"{V3}/rooms/{{roomId}}/invite", invite_user, body_size_max_bytes=200),
    Route("GET", f"{V3}/rooms/{{roomId}}/messages", get_messages, Auth.GUEST_OK),
    Route("POST", f"{V3}/leave", leave),
    Route("POST", f"{V3}/logout", logout),
    Route("GET", f"{V3}/whoami", whoami, Auth.OPTIONAL),
    Route("GET", f"{V3}/admin", whoami, Auth.ADMIN),
    Route("POST", f"{V3}/upload", upload, body_size_max_bytes=100_000),
    Route("GET", f"{V3}/page", get_page, Auth.NONE),
    Route("GET", f"{V3}/redirect", get_redirect, Auth.NONE),
    Route("GET", f"{V3}/created", get_created, Auth.NONE),
    Route("GET", f"{V3}/pieces", get_pieces, Auth.NONE),
    Route("GET", f"{V3}/fail", fail, Auth.NONE),
    Route("PUT", f"{V3}/slow", slow_write),
    Route("GET", f"{V3}/slow", slow_read),
    Route("GET", f"{V3}/poll", long_poll),
)
