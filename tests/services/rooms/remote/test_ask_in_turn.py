"""Asking servers in turn: who is asked, when it ends, and what a user is told in the end."""

import asyncio

import pytest

from tim_server.egress.errors import ContactRefused, RemoteUnreachable, ResponseRefused
from tim_server.federation.errors import RemoteError
from tim_server.matrix.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    MatrixError,
    NotFound,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
)
from tim_server.matrix.federation_errors import BadGateway, RefusedElsewhere
from tim_server.matrix.identifiers import ServerName
from tim_server.services.rooms.remote.ask_in_turn import AskingBounds, ask_in_turn

DOWN = RemoteUnreachable("can't be reached")
CLOSED = RemoteError("x", 403, "M_FORBIDDEN", "You are not invited")
ABSENT = RemoteError("x", 404, "M_NOT_FOUND", "Unknown room")


def servers(count: int) -> list[ServerName]:
    return [ServerName(f"s{number}.example") for number in range(count)]


async def ask(*answers: Exception | str, bounds: AskingBounds | None = None) -> tuple[str, list[str]]:
    """What is answered in the end, where the servers answer like this one after the other; and who was asked."""
    asked: list[str] = []

    async def answer(server: ServerName) -> str:
        asked.append(server)
        given = answers[len(asked) - 1]
        if isinstance(given, Exception):
            raise given
        return given

    _, found = await ask_in_turn(servers(len(answers)), answer, bounds or AskingBounds())
    return found, asked


async def test_the_first_that_helps_is_the_last_that_is_asked() -> None:
    assert await ask(DOWN, ABSENT, "yes", "no") == ("yes", ["s0.example", "s1.example", "s2.example"])


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ((), NotFound),
        ((DOWN,), BadGateway),
        ((ResponseRefused("large"),), BadGateway),
        ((RemoteError("x", 500, "M_UNKNOWN", ""),), BadGateway),
        ((RemoteError("x", 400, "M_INVALID_PARAM", ""),), BadGateway),
        ((RemoteError("x", 200, "M_BAD_JSON", ""),), BadGateway),
        ((ContactRefused("unlisted"),), Forbidden),
        ((DOWN, ABSENT), NotFound),
        ((CLOSED, DOWN, ABSENT), Forbidden),
        ((RemoteError("x", 400, "M_UNABLE_TO_GRANT_JOIN", ""), DOWN), UnableToGrantJoin),
        ((RemoteError("x", 400, "M_UNABLE_TO_AUTHORISE_JOIN", ""), ABSENT), UnableToAuthoriseJoin),
        ((DOWN, RemoteError("x", 400, "M_INCOMPATIBLE_ROOM_VERSION", "")), IncompatibleRoomVersion),
    ],
)
async def test_the_most_telling_error_is_told(errors: tuple[Exception, ...], told: type[MatrixError]) -> None:
    with pytest.raises(MatrixError) as raised:
        await ask(*errors)
    assert type(raised.value) is told


async def test_what_a_server_says_of_a_closed_room_is_passed_on() -> None:
    with pytest.raises(Forbidden, match="You are not invited"):
        await ask(DOWN, CLOSED)


async def test_the_version_of_a_room_that_can_not_be_joined_is_passed_on() -> None:
    with pytest.raises(IncompatibleRoomVersion) as raised:
        await ask(RemoteError.of("x", 400, {"errcode": "M_INCOMPATIBLE_ROOM_VERSION", "room_version": "99"}))
    assert raised.value.body()["room_version"] == "99"


async def test_an_errcode_of_the_servers_own_is_passed_on() -> None:
    with pytest.raises(RefusedElsewhere, match="denied!") as raised:
        await ask(RemoteError("x", 400, "ORG.EXAMPLE_NOT_ON_SUNDAYS", "denied!"), DOWN)
    assert raised.value.body()["errcode"] == "ORG.EXAMPLE_NOT_ON_SUNDAYS" and raised.value.status == 400


@pytest.mark.parametrize(
    "errcode", ["M_UNKNOWN_TOKEN", "M_USER_LOCKED", "M_CONSENT_NOT_GIVEN", "M_MISSING_PARAM", "<b>"]
)
async def test_no_server_tells_clients_of_their_session_or_of_our_mistakes(errcode: str) -> None:
    with pytest.raises(BadGateway):
        await ask(RemoteError("x", 400, errcode, ""))


async def test_not_more_servers_are_asked_than_allowed() -> None:
    with pytest.raises(BadGateway):
        await ask(DOWN, DOWN, "too late", bounds=AskingBounds(servers_max=2))


async def test_servers_that_agree_to_refuse_are_believed() -> None:
    with pytest.raises(Forbidden):
        await ask(CLOSED, CLOSED, CLOSED, "too late")


async def test_all_of_it_takes_a_bounded_time() -> None:
    async def never(server: ServerName) -> str:
        await asyncio.sleep(60)
        return ""

    with pytest.raises(BadGateway):
        await ask_in_turn(servers(3), never, AskingBounds(timeout_s=0.05))


async def test_what_is_wrong_with_the_request_ends_it() -> None:
    with pytest.raises(NotFound, match="mine"):
        await ask(NotFound("mine"), "too late")
