"""What the gate decides is written down, each kind once with its times; a stranger can't fill the table."""

import pytest
from structlog.testing import capture_logs

from tests.services.trust.site import A, Site, token_of
from tim_server.matrix.errors import Forbidden, Unavailable
from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.decisions import KINDS_PER_FLUSH_MAX, OTHER_SERVERS
from tim_server.services.trust.gate import ChokePoint
from tim_server.storage.store import Store
from tim_server.storage.trust_decisions import Decision, DecisionFilter, list_decisions
from tim_server.storage.writer import Writer


@pytest.fixture
async def site(store: Store) -> Site:
    """A homeserver whose directory lists a.example."""
    async with store.database.transaction() as tx:
        await tx.execute("DELETE FROM trust_decisions")
    site = Site(store)
    site.publish(token_of("a"))
    await site.refresh.tick()
    return site


async def rows(site: Site, **wanted: object) -> list[Decision]:
    async with site.store.database.read() as tx:
        return [each for _, each in await list_decisions(tx, DecisionFilter(**wanted), limit=1_000)]  # type: ignore[arg-type]


async def test_refusals_of_one_kind_share_a_row(site: Site) -> None:
    stranger = ServerName("stranger.example")
    first_ts = site.clock()
    for _ in range(3):
        with pytest.raises(Forbidden, match=r"stranger\.example is not part of the federation"):
            await site.gate.require(ChokePoint.CLIENT_REQUEST, [A, stranger])
    await site.decisions.flush()
    site.clock.advance(10)
    await site.gate.verdict(stranger, ChokePoint.CLIENT_REQUEST)
    await site.gate.may_contact(stranger)
    await site.decisions.flush()
    common = {"server_name": stranger, "is_allowed": False, "reason": "no directory lists stranger.example"}
    found = sorted(await rows(site), key=lambda each: each.point)
    assert found == [
        Decision(point="client request", first_ts=first_ts, last_ts=site.clock(), times=4, **common),
        Decision(point="outgoing connection", first_ts=site.clock(), last_ts=site.clock(), times=1, **common),
    ]
    assert site.decisions.refusal_counts == {"client request": 4, "outgoing connection": 1}


async def test_what_is_allowed_is_not_written_down(site: Site) -> None:
    await site.gate.require(ChokePoint.INCOMING_FEDERATION, [A, ServerName("own.example"), ServerName("OWN.example")])
    await site.decisions.flush()
    assert await rows(site) == []


async def test_a_flood_of_names_is_counted_and_not_named(site: Site) -> None:
    with capture_logs() as logs:
        for number in range(KINDS_PER_FLUSH_MAX + 300):
            site.gate.judge(ServerName(f"host{number}.example"), ChokePoint.INCOMING_FEDERATION)
    assert len([line for line in logs if line["event"] == "contact_refused"]) == KINDS_PER_FLUSH_MAX
    await site.decisions.flush()
    found = await rows(site)
    assert len(found) == KINDS_PER_FLUSH_MAX + 1
    (others,) = [each for each in found if each.server_name == OTHER_SERVERS]
    assert others.times == 300


async def test_the_newest_of_each_choke_point_are_kept(site: Site) -> None:
    site.gate.judge(ServerName("typed-by-a-user.example"), ChokePoint.CLIENT_REQUEST)
    for number in range(150):
        site.clock.advance(1)
        site.gate.judge(ServerName(f"host{number}.example"), ChokePoint.INCOMING_FEDERATION)
    await site.decisions.flush()
    await site.decisions.trim()
    left = [each.server_name for each in await rows(site)]
    assert left == [f"host{number}.example" for number in range(149, 49, -1)] + ["typed-by-a-user.example"]


async def test_without_the_database_they_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = ServerName("stranger.example")
    site.gate.judge(stranger, ChokePoint.MEMBERSHIP)
    with monkeypatch.context() as patch:

        async def away(_writer: Writer, _write: object) -> None:
            site.gate.judge(stranger, ChokePoint.MEMBERSHIP)
            raise Unavailable

        patch.setattr(Writer, "write", away)
        await site.decisions.flush()
    await site.decisions.flush()
    assert [each.times for each in await rows(site, point="invite or join")] == [2]


async def test_pages_follow_each_other(site: Site) -> None:
    for number in range(5):
        site.clock.advance(1)
        site.gate.judge(ServerName(f"host{number}.example"), ChokePoint.MEMBERSHIP)
    await site.decisions.flush()
    seen: list[str] = []
    before = None
    while True:
        async with site.store.database.read() as tx:
            page = await list_decisions(tx, DecisionFilter(before=before), limit=2)
        if not page:
            break
        seen += [decision.server_name for _, decision in page]
        before = (page[-1][1].last_ts, page[-1][0])
    assert seen == [f"host{number}.example" for number in (4, 3, 2, 1, 0)]
