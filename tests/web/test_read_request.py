"""Request models are filled from path, query, headers and body; what is wrong has the spec's error code."""

from enum import StrEnum
from typing import Any, Literal

import pytest
from pydantic import Field

from tim_server.matrix.errors import BadJson, InvalidParam, MatrixError, MissingParam
from tim_server.matrix.identifiers import RoomId as RoomIdType
from tim_server.web.fields import RoomId, RoomIdOrAlias, ServerName, UserId
from tim_server.web.read_request import RequestReader
from tim_server.web.request_model import InHeader, InPath, InQuery, RequestModel, WholeBody


class Visibility(StrEnum):
    PUBLIC = "public"
    PRIVATE = "private"


class Invite3pid(RequestModel):
    id_server: str
    medium: str = Field(alias="type")


class Everything(RequestModel):
    room_id: InPath[RoomId]
    user_id: InPath[UserId]
    start: InQuery[str | None] = Field(default=None, alias="from")
    limit: InQuery[int] = Field(default=10, ge=0)
    full_state: InQuery[bool] = False
    via: InQuery[list[ServerName]] = Field(default_factory=list)
    range: InHeader[str | None] = None
    invited: UserId | None = Field(default=None, alias="user_id")
    visibility: Visibility = Visibility.PRIVATE
    preset: Literal["a", "b"] | None = None
    power: int = 0
    name: str | None = None
    invites: tuple[Invite3pid, ...] = ()
    content: dict[str, Any] = Field(default_factory=dict)


PATH = {"roomId": "!r:example.org", "userId": "@a:example.org"}


def read(path=PATH, query=None, headers=None, **body) -> Any:
    return RequestReader.of(Everything).read(path, query or {}, headers or {}, body)


def test_every_part_of_the_request_reaches_its_own_field():
    request = read(
        query={"from": ["s1"], "limit": ["5"], "full_state": ["true"], "via": ["a.org", "b.org"]},
        headers={"range": "bytes=0-"},
        user_id="@b:example.org",
        visibility="public",
        invites=[{"id_server": "x", "type": "email"}],
        content={"a": [1.5]},
    )
    assert request.room_id == "!r:example.org" and isinstance(request.room_id, RoomIdType)
    assert (request.user_id, request.invited) == ("@a:example.org", "@b:example.org")
    assert (request.start, request.limit, request.full_state) == ("s1", 5, True)
    assert request.via == ["a.org", "b.org"]
    assert request.range == "bytes=0-"
    assert request.visibility is Visibility.PUBLIC
    assert request.invites == (Invite3pid(id_server="x", medium="email"),)
    assert request.content == {"a": [1.5]}


def test_defaults_apply_and_unknown_keys_are_ignored():
    request = read(what="ever")
    assert (request.limit, request.full_state, request.via, request.invited) == (10, False, [], None)


def test_a_body_key_never_fills_a_field_of_path_or_query():
    request = read(
        **{"room_id": "!evil:example.org", "path room_id": "!e:example.org", "limit": 99, "full_state": True}
    )
    assert (request.room_id, request.limit, request.full_state) == ("!r:example.org", 10, False)


@pytest.mark.parametrize(
    ("change", "error", "names"),
    [
        ({"path": {**PATH, "roomId": "nonsense"}}, InvalidParam, "room_id"),
        ({"query": {"limit": ["ten"]}}, InvalidParam, "limit"),
        ({"query": {"limit": ["-1"]}}, InvalidParam, "limit"),
        ({"query": {"full_state": ["yes"]}}, InvalidParam, "full_state"),
        ({"query": {"via": ["ok.org", "not ok"]}}, InvalidParam, "via"),
        ({"name": 1}, BadJson, "name"),
        ({"power": "1"}, BadJson, "power"),
        ({"power": True}, BadJson, "power"),
        ({"power": 1.0}, BadJson, "power"),
        ({"content": []}, BadJson, "content"),
        ({"invites": {}}, BadJson, "invites"),
        ({"invites": ["x"]}, BadJson, "invites"),
        ({"invites": [{"id_server": 1, "type": "email"}]}, BadJson, "invites.0.id_server"),
        ({"invites": [{"type": "email"}]}, MissingParam, "invites.0.id_server"),
        ({"preset": "c"}, InvalidParam, "preset"),
        ({"visibility": "both"}, InvalidParam, "visibility"),
        ({"user_id": "bob"}, InvalidParam, "user_id"),
        ({"user_id": 7}, BadJson, "user_id"),
    ],
)
def test_wrong_values_are_refused_with_the_key_but_not_the_value(change, error, names):
    with pytest.raises(MatrixError) as caught:
        read(**change)
    assert type(caught.value) is error
    assert names in caught.value.message
    assert "nonsense" not in caught.value.message


class Required(RequestModel):
    password: str
    dir: InQuery[Literal["b", "f"]]


@pytest.mark.parametrize(("query", "body"), [({}, {"password": "x"}), ({"dir": ["b"]}, {})])
def test_missing_values_are_missing_params(query, body):
    with pytest.raises(MissingParam):
        RequestReader.of(Required).read({}, query, {}, body)


def test_the_error_never_shows_the_value():
    with pytest.raises(MatrixError) as caught:
        RequestReader.of(Required).read({}, {"dir": ["b"]}, {}, {"password": 987654321})
    assert "987654321" not in str(caught.value.body())


class Send(RequestModel):
    content: WholeBody[dict[str, Any]]


def test_the_whole_body_reaches_one_field():
    reader = RequestReader.of(Send)
    assert reader.read({}, {}, {}, {"body": "hi"}).content == {"body": "hi"}
    assert reader.has_json_body and reader.is_body_required


def test_body_is_required_only_where_a_field_of_it_is():
    assert RequestReader.of(Required).is_body_required
    assert not RequestReader.of(Everything).is_body_required


class Join(RequestModel):
    room: InPath[RoomIdOrAlias] = Field(alias="roomIdOrAlias")


@pytest.mark.parametrize("value", ["!r:example.org", "#r:example.org", "!" + "x" * 43])
def test_room_ids_and_aliases(value):
    assert RequestReader.of(Join).read({"roomIdOrAlias": value}, {}, {}, {}).room == value


def test_a_model_whose_fields_could_be_confused_is_refused():
    class Confused(RequestModel):
        limit: InQuery[int] = 1
        other: int = Field(default=1, alias="limit")

    with pytest.raises(TypeError, match="rename"):
        RequestReader.of(Confused)
