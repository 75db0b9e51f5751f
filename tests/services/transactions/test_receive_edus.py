"""EDUs are given to those who take them in, each type by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from tim_server.matrix.errors import Unavailable
from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.receive_edus import EduReceiver

ORIGIN = ServerName("b.example")


class Taken:
    """Takes in what it gets, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.contents: list[Mapping[str, Any]] = []
        self.error = error

    async def __call__(self, origin: ServerName, contents: Sequence[Mapping[str, Any]]) -> None:
        assert origin == ORIGIN
        if self.error is not None:
            raise self.error
        self.contents += contents


def edu(edu_type: Any, **content: Any) -> dict[str, Any]:
    return {"edu_type": edu_type, "content": content}


async def test_each_type_is_taken_in_by_its_own_in_order() -> None:
    typing, receipts = Taken(), Taken()
    receiver = EduReceiver(receivers={"m.typing": typing, "m.receipt": receipts})
    await receiver.receive(ORIGIN, [edu("m.typing", number=1), edu("m.receipt", number=2), edu("m.typing", number=3)])
    assert typing.contents == [{"number": 1}, {"number": 3}] and receipts.contents == [{"number": 2}]
    assert receiver.counts == {"m.typing": 2, "m.receipt": 1}


async def test_what_is_unknown_or_malformed_is_counted_and_dropped() -> None:
    typing = Taken()
    receiver = EduReceiver(receivers={"m.typing": typing})
    nonsense: list[Any] = [
        None,
        7,
        "edu",
        [],
        {},
        {"edu_type": "m.typing"},
        {"edu_type": "m.typing", "content": "text"},
    ]
    await receiver.receive(ORIGIN, [*nonsense, edu(["m.typing"]), edu("org.example.new"), edu("m.typing", ok=True)])
    assert typing.contents == [{"ok": True}]
    assert receiver.counts == {"malformed": 8, "other": 1, "m.typing": 1}


async def test_a_bug_in_one_type_fails_no_other() -> None:
    typing, broken = Taken(), Taken(ZeroDivisionError())
    receiver = EduReceiver(receivers={"m.presence": broken, "m.typing": typing})
    with capture_logs() as logs:
        await receiver.receive(ORIGIN, [edu("m.presence"), edu("m.typing", ok=True)])
    assert typing.contents == [{"ok": True}]
    assert [line["log_level"] for line in logs] == ["error"]


async def test_what_could_not_be_stored_must_come_again_but_the_rest_is_taken_in() -> None:
    typing, away = Taken(), Taken(Unavailable())
    receiver = EduReceiver(receivers={"m.direct_to_device": away, "m.typing": typing})
    with pytest.raises(Unavailable):
        await receiver.receive(ORIGIN, [edu("m.direct_to_device"), edu("m.typing", ok=True)])
    assert typing.contents == [{"ok": True}]


async def test_no_more_than_a_hundred_are_looked_at() -> None:
    typing = Taken()
    await EduReceiver(receivers={"m.typing": typing}).receive(ORIGIN, [edu("m.typing")] * 150)
    assert len(typing.contents) == 100
