"""Push rules are remembered only as long as they are those in place."""

from tests.storage.commits import ALICE
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.push_rules import RuleKind
from tim_server.services.push_rules.change import Placing, PushRuleChange, PushRulePolicy
from tim_server.services.push_rules.known import KnownRules
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.store import Store

BOB = UserId("@bob:hospital.example")
ROOM = "!ward:hospital.example"


def make_known(store: Store, **options: int) -> KnownRules:
    known = KnownRules(database=store.database, codec=store.codec, **options)
    store.commit_log.subscribe(known.follow)
    return known


async def mute(store: Store, user_id: UserId, room_id: str = ROOM) -> None:
    change = PushRuleChange(database=store.database, writer=store.writer, codec=store.codec, policy=PushRulePolicy())
    await change.put(user_id, RuleKind.ROOM, room_id, {"actions": []}, Placing())


async def muted(known: KnownRules, user_id: UserId) -> int:
    """How many rooms the user has muted, as far as it is known."""
    rules = (await known.load([user_id]))[user_id]
    return 0 if rules is None else len(rules.room)


async def test_a_change_is_known_at_once(store: Store) -> None:
    known = make_known(store)
    assert await muted(known, ALICE) == 0
    await mute(store, ALICE)
    assert await muted(known, ALICE) == 1
    assert (await known.load([ALICE]))[ALICE] is (await known.load([ALICE, BOB]))[ALICE]


async def test_what_an_old_snapshot_shows_is_not_remembered(store: Store) -> None:
    known = make_known(store)
    before = await muted(known, BOB)
    async with store.database.read() as tx:
        now = await read_newest_position(tx)
        await mute(store, BOB)
        rules = (await known.load_within(tx, [BOB], now))[BOB]
        assert (0 if rules is None else len(rules.room)) == before
    assert await muted(known, BOB) == before + 1


async def test_what_is_remembered_is_bounded(store: Store) -> None:
    known = make_known(store, bytes_max=2_000)
    users = [UserId(f"@user{number}:hospital.example") for number in range(50)]
    await known.load(users)
    assert len(known._rules) == 8
    known.clear()
    assert not known._rules
