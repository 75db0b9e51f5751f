"""Turn what an endpoint returns into an HTTP response.

Every response has the CORS headers of the specification, errors and preflights included.

Spec: https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec
import structlog
from aiohttp.web import BaseRequest, Response, StreamResponse
from multidict import CIMultiDict

from tim_server.matrix.errors import MatrixError
from tim_server.observability.traces import describe_error
from tim_server.web.errors import error_response
from tim_server.web.response_model import Binary, RawJson, Redirect, StreamedBinary, StreamedJson, WithStatus

_log = structlog.get_logger("web")

_HEADERS: Final[CIMultiDict[str]] = CIMultiDict(
    {
        "Server": "tim-server",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
        "Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
    }
)
_JSON_HEADERS: Final[CIMultiDict[str]] = CIMultiDict({**_HEADERS, "Content-Type": "application/json"})


def _plain(value: Any) -> Any:
    """Identifiers, which are subclasses of `str`, as what they are in JSON."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"no JSON for {type(value).__qualname__}")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def respond(result: Any, request_id: str) -> Response:
    """The response for what an endpoint returned: a model, RawJson, Binary, Redirect, or one of them WithStatus."""
    status = 200
    further: Mapping[str, str] | None = None
    if type(result) is WithStatus:
        status, further, result = result.status, result.headers, result.response
    if type(result) is Binary:
        return _response(status, result.body, _HEADERS, request_id, _binary_headers(result, further))
    if type(result) is Redirect:
        return _response(302, b"", _HEADERS, request_id, {"Location": result.location, **(further or {})})
    body = bytes(result) if type(result) is RawJson else _encoder.encode(result)
    return _response(status, body, _JSON_HEADERS, request_id, further)


def is_streamed(result: Any) -> bool:
    """Whether what an endpoint returned is written piece by piece."""
    return type(result.response if type(result) is WithStatus else result) in (StreamedJson, StreamedBinary)


async def respond_in_pieces(result: Any, request: BaseRequest, request_id: str, route: str) -> StreamResponse:
    """The response whose body is written piece by piece. Where a piece can't be made, the connection is cut, so that
    nobody takes what there is for the whole."""
    status, streamed = (result.status, result.response) if type(result) is WithStatus else (200, result)
    response = StreamResponse(status=status, headers={**_streamed_headers(streamed), "X-Request-ID": request_id})
    try:
        async with aclosing(streamed.pieces) as pieces:
            await response.prepare(request)
            if request.method != "HEAD":
                async for piece in pieces:
                    await response.write(piece)
                    await asyncio.sleep(0)  # who reads fast must not keep all others waiting
    except ConnectionError:
        pass  # whoever asked is gone
    except Exception as error:
        _log.error("answer_broken_off", route=route, **describe_error(error))
        if request.transport is not None:
            request.transport.abort()
    return response


def _streamed_headers(streamed: StreamedJson | StreamedBinary) -> Mapping[str, str]:
    if isinstance(streamed, StreamedJson):
        return _JSON_HEADERS
    return {
        **_HEADERS,
        "Content-Type": streamed.content_type,
        "Content-Length": str(streamed.length_bytes),
        **(streamed.headers or {}),
    }


def respond_to_error(error: MatrixError, request_id: str, further: Mapping[str, str] | None = None) -> Response:
    """The standard error response."""
    status, body, headers = error_response(error)
    return _response(status, body, _JSON_HEADERS, request_id, {**headers, **(further or {})})


def respond_to_preflight(request_id: str) -> Response:
    """The answer to OPTIONS, which runs no endpoint."""
    return _response(204, None, _HEADERS, request_id, None)


def _binary_headers(result: Binary, further: Mapping[str, str] | None) -> dict[str, str]:
    return {"Content-Type": result.content_type, **(result.headers or {}), **(further or {})}


def _response(
    status: int, body: bytes | None, base: CIMultiDict[str], request_id: str, further: Mapping[str, str] | None
) -> Response:
    headers = base.copy()
    headers["X-Request-ID"] = request_id
    if further:
        headers.update(further)
    return Response(status=status, body=body, headers=headers)
