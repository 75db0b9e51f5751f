"""Joining rooms."""

from typing import Any

import pytest

from tests.services.rooms.conftest import ALICE, SERVER, Rooms
from tim_server.matrix.errors import GuestAccessForbidden
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.push_rules.change import PushRuleChange, PushRulePolicy
from tim_server.services.rooms.carry_over import CarryOver
from tim_server.services.rooms.draft import TransactionKey
from tim_server.services.rooms.join import RoomJoin
from tim_server.services.rooms.redact import Redaction
from tim_server.storage.store import Store


def guest(number: int) -> Requester:
    user_id = UserId(f"@guest{number}:{SERVER}")
    return Requester(user_id=user_id, device_id="GUEST", token_id=number, is_guest=True)


async def test_guests_join_only_while_guest_access_says_so_and_is_not_redacted(rooms: Rooms, store: Store) -> None:
    common: dict[str, Any] = {"database": store.database, "codec": store.codec}
    push_rules = PushRuleChange(writer=store.writer, policy=PushRulePolicy(), **common)
    carry_over = CarryOver(writer=store.writer, queues=rooms.queues, push_rules=push_rules, **common)
    join = RoomJoin(server_name=SERVER, queues=rooms.queues, carry_over=carry_over, **common)
    redaction = Redaction(database=store.database, codec=store.codec, queues=rooms.queues)
    room_id = await rooms.create()
    with pytest.raises(GuestAccessForbidden):
        await join.join(guest(1), room_id, {})
    access = await rooms.send(room_id, ALICE, "m.room.guest_access", state_key="", content={"guest_access": "can_join"})
    assert await join.join(guest(1), room_id, {}) == room_id

    alice = Requester(user_id=ALICE, device_id="DEVICE", token_id=9)
    transaction = TransactionKey(user_id=ALICE, device_id="DEVICE", txn_id="1", endpoint=("redact", room_id, access))
    await redaction.send(alice, room_id, access, {}, transaction)
    with pytest.raises(GuestAccessForbidden):
        await join.join(guest(2), room_id, {})
