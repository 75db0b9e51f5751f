"""The directory is fetched, kept and followed; a bad one leaves the one before in force."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.certificates import DAY, NOW, make_ca, make_certificate
from tests.services.trust.site import STRANGER, URL, A, B, Site, Source, token_of
from tests.trust.circle import SIGNING, directory_json, sign, with_header
from tim_server.egress.errors import RemoteUnreachable, ResponseRefused
from tim_server.services.trust.gate import ChokePoint
from tim_server.services.trust.health import HealthState, HealthWatch, health_of
from tim_server.services.trust.refresh import WAITING_FOR_UNKNOWN_MAX, DirectoryRefresh
from tim_server.storage.store import Store
from tim_server.storage.trust_decisions import DecisionFilter, list_decisions
from tim_server.trust.directory import DirectoryRefused
from tim_server.trust.signed_directory import SignerRules

OTHER_ROOT = make_ca("another root")


@pytest.fixture
def site(store: Store) -> Site:
    return Site(store)


async def test_before_the_first_directory_nobody_is_let_in(site: Site) -> None:
    site.publish(RemoteUnreachable("no route"))
    await site.refresh.tick()
    verdict = await site.gate.verdict(A, ChokePoint.INCOMING_FEDERATION)
    assert not verdict.is_allowed and "no directory yet" in verdict.reason


async def test_who_is_listed_is_let_in_and_nobody_else(site: Site) -> None:
    site.publish(token_of("a"))
    await site.refresh.tick()
    assert (site.gate.is_listed(A), site.gate.is_listed(B), site.version) == (True, False, 7)


async def test_it_is_fetched_at_the_interval_and_told_which_version_is_known(site: Site) -> None:
    site.publish(token_of("a"))
    await site.refresh.tick()
    site.clock.advance(299)
    await site.refresh.tick()
    assert site.source.asked == [URL]
    site.clock.advance(1)
    site.publish(None)
    await site.refresh.tick()
    assert site.source.asked[1:] == [f"{URL}?version=7"]
    assert site.refresh.status.checked_ts == site.clock()


async def test_whom_a_new_version_lists_no_more_is_shut_out(site: Site) -> None:
    changes: list[str] = []

    async def note_change() -> None:
        changes.append("changed")

    site.knowledge.on_change.append(note_change)
    site.publish(token_of("a", "b"))
    await site.refresh.tick()
    site.publish(token_of("b", version=8))
    site.clock.advance(300)
    await site.refresh.tick()
    assert (site.gate.is_listed(A), site.gate.is_listed(B)) == (False, True)
    assert changes == ["changed", "changed"]
    await site.decisions.flush()
    async with site.store.database.read() as tx:
        ((_, decision),) = await list_decisions(tx, DecisionFilter(server_name=A, point="directory"), limit=10)
    assert not decision.is_allowed and "version 8" in decision.reason


FOREIGN_SIGNER = make_certificate(OTHER_ROOT, [], [SIGNING], common_name="signer of directories")
GOOD = token_of("a", "b", version=8)
BAD_DIRECTORIES: dict[str, Any] = {
    "tampered with": GOOD[:-20] + b"A" * 20,
    "another algorithm": with_header(GOOD, alg="none"),
    "a signer of another root": sign(directory_json(version=8), FOREIGN_SIGNER),
    "expired": token_of("a", version=8, expires=NOW - DAY / 2),
    "from the future": token_of("a", version=8, issued=NOW + DAY),
    "older": token_of("a", version=6),
    "another one of the same version": token_of("a", "b", version=7),
    "no JSON": sign(b"nonsense"),
    "without organisations": sign(directory_json(version=8, organisations=None)),
    "an error page": b"<html>502 Bad Gateway</html>",
    "nothing": b"",
    "an error": ResponseRefused("directory.example answered with 500"),
    "silence": RemoteUnreachable("directory.example did not answer in time"),
}


@pytest.mark.parametrize("bad", BAD_DIRECTORIES.values(), ids=list(BAD_DIRECTORIES))
async def test_a_bad_directory_leaves_the_one_before_in_force(site: Site, bad: Any) -> None:
    site.publish(token_of("a"))
    await site.refresh.tick()
    site.publish(bad)
    site.clock.advance(300)
    with capture_logs() as logs:
        await site.refresh.tick()
    assert (site.version, site.gate.is_listed(A), site.gate.is_listed(B)) == (7, True, False)
    assert [line["log_level"] for line in logs] == ["warning"]
    health = health_of(site.knowledge, site.refresh.status, site.clock())
    assert health.state is HealthState.FAILING and health.alarm
    again = site.restarted()
    await again.refresh.load()
    assert (again.version, again.refresh.status.problem) == (7, site.refresh.status.problem)


async def test_of_several_places_the_first_good_one_counts(store: Store) -> None:
    urls = ("https://one.example/d", "https://two.example/d", "https://three.example/d")
    source = Source({urls[0]: token_of("a", version=5, expires=NOW - DAY / 2), urls[1]: token_of("a")})
    site = Site(store, source=source, urls=urls)
    await site.refresh.tick()
    assert (site.version, source.asked, site.refresh.status.problem) == (7, list(urls[:2]), None)


async def test_after_a_failure_it_is_tried_again_sooner(site: Site) -> None:
    await site.refresh.tick()
    site.publish(token_of("a"))
    site.clock.advance(59)
    await site.refresh.tick()
    assert site.version is None
    site.clock.advance(1)
    await site.refresh.tick()
    assert (site.version, site.refresh.status.problem) == (7, None)


async def test_an_older_version_does_not_get_past_the_database_either(site: Site) -> None:
    """A process that knows nothing of the version in force can't bring an old one back."""
    site.publish(token_of("a", version=8))
    await site.refresh.tick()
    forgetful = site.restarted()
    forgetful.publish(token_of("a", "b", version=7))
    site.clock.advance(300)
    await forgetful.refresh.tick()
    assert (forgetful.version, forgetful.gate.is_listed(B)) == (8, False)


async def test_an_operator_may_go_back_and_all_processes_follow(site: Site) -> None:
    site.publish(token_of("a", version=8))
    await site.refresh.tick()
    other = site.restarted()
    await other.refresh.load()
    site.publish(token_of("a", "b", version=7))
    with pytest.raises(DirectoryRefused, match="older than 8"):
        await site.refresh.refresh()
    with other.following():
        await site.refresh.refresh(allow_rollback=True)
        await other.refresh.tick()
    assert (site.version, other.version, site.restarted().version) == (7, 7, None)
    async with site.store.database.read() as tx:
        actions = await tx.fetch("SELECT action, object FROM audit_log WHERE object LIKE $1", f"{site.name}%")
    assert [tuple(row) for row in actions] == [("trust.allow_rollback", f"{site.name} version 7")]


async def test_one_process_fetches_and_the_others_follow(site: Site) -> None:
    others = [site.restarted() for _ in range(3)]
    site.publish(token_of("a"))
    await asyncio.gather(*(each.refresh.tick() for each in [site, *others]))
    assert len(site.source.asked) == 1
    for each in others:
        each.refresh.look()
        await each.refresh.tick()
    assert [each.version for each in others] == [7, 7, 7]


async def test_after_a_restart_without_the_source_the_copy_serves(site: Site) -> None:
    site.publish(token_of("a"))
    await site.refresh.tick()
    again = site.restarted(source=Source())
    await again.refresh.load()
    site.clock.advance(3600)
    await again.refresh.tick()
    assert again.gate.is_listed(A)
    assert not (await again.gate.verdict(STRANGER, ChokePoint.CLIENT_REQUEST)).is_allowed


async def test_a_copy_past_its_time_serves_on_with_an_alarm(site: Site) -> None:
    site.publish(token_of("a", expires=NOW + DAY))
    await site.refresh.tick()
    site.publish(RemoteUnreachable("gone"))
    watch = HealthWatch(health=lambda: health_of(site.knowledge, site.refresh.status, site.clock()), now_ms=site.clock)
    with capture_logs() as logs:
        await watch.tick()
        site.clock.advance(2 * 86_400)
        await site.refresh.tick()
        for _ in range(3):
            await watch.tick()
    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("warning", "directory_not_refreshed"),
        ("error", "directory_alarm"),
    ]
    again = site.restarted()
    await again.refresh.load()
    for each in (site, again):
        assert each.gate.is_listed(A)
        assert health_of(each.knowledge, each.refresh.status, site.clock()).state is HealthState.EXPIRED
    site.publish(token_of("a", version=8, expires=NOW + 90 * DAY))
    site.clock.advance(300)
    await site.refresh.tick()
    with capture_logs() as logs:
        await watch.tick()
    assert [line["event"] for line in logs] == ["directory_alarm_over"]


async def test_that_it_can_not_be_refreshed_for_a_day_needs_somebody(site: Site) -> None:
    site.publish(token_of("a"))
    await site.refresh.tick()
    site.publish(RemoteUnreachable("gone"))
    for hours, state in ((1, HealthState.FAILING), (24, HealthState.STALE)):
        site.clock.advance(hours * 3600)
        await site.refresh.tick()
        health = health_of(site.knowledge, site.refresh.status, site.clock())
        assert (health.state, health.needs_somebody) == (state, state is HealthState.STALE)
    assert site.gate.is_listed(A)


async def test_a_stored_copy_that_the_anchors_no_longer_vouch_for_is_not_used(site: Site) -> None:
    site.publish(token_of("a"))
    await site.refresh.tick()
    other = site.restarted(rules=SignerRules(anchors=(OTHER_ROOT.certificate,)))
    with capture_logs() as logs:
        await other.refresh.load()
        await other.refresh.load()
    assert [line["event"] for line in logs] == ["stored_directory_not_accepted"]
    assert not other.gate.is_listed(A)


async def test_an_unknown_server_makes_it_be_fetched_once_more_and_not_too_often(site: Site) -> None:
    site.publish(token_of("a"))
    await site.refresh.tick()
    site.publish(token_of("a", "b", version=8))
    assert not (await site.gate.verdict(B, ChokePoint.INCOMING_FEDERATION)).is_allowed  # fetched just now
    site.clock.advance(60)
    verdicts = await asyncio.gather(*(site.gate.verdict(B, ChokePoint.INCOMING_FEDERATION) for _ in range(20)))
    assert all(verdict.is_allowed for verdict in verdicts)
    assert len(site.source.asked) == 2
    for number in range(50):
        site.clock.advance(1)
        await site.gate.verdict(STRANGER, ChokePoint.INCOMING_FEDERATION)
        assert len(site.source.asked) == 2, number


async def test_few_wait_for_a_directory_that_is_slow(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.publish(token_of("a"))
    await site.refresh.tick()
    answered = asyncio.Event()

    async def slow(_url: str) -> None:
        await answered.wait()

    site.refresh.fetch = slow
    site.clock.advance(60)
    asking = [
        asyncio.create_task(site.gate.verdict(STRANGER, ChokePoint.INCOMING_FEDERATION))
        for _ in range(WAITING_FOR_UNKNOWN_MAX + 50)
    ]
    done, waiting = await asyncio.wait(asking, timeout=0.5)
    assert (len(done), len(waiting)) == (50, WAITING_FOR_UNKNOWN_MAX)
    answered.set()
    assert not any(verdict.is_allowed for verdict in await asyncio.gather(*asking))


async def test_a_claim_from_the_future_counts_for_nothing(site: Site) -> None:
    site.publish(token_of("a"))
    site.clock.advance(86_400)
    await site.refresh.tick()
    site.clock.advance(-86_400)
    site.publish(token_of("a", "b", version=8))
    await site.refresh.tick()
    assert site.version == 8


async def test_a_database_that_is_away_changes_no_verdict(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.publish(token_of("a"))
    await site.refresh.tick()
    site.clock.advance(60)
    monkeypatch.setattr(DirectoryRefresh, "_claim", _raise)
    assert (await site.gate.verdict(A, ChokePoint.INCOMING_FEDERATION)).is_allowed
    assert not (await site.gate.verdict(STRANGER, ChokePoint.INCOMING_FEDERATION)).is_allowed


async def _raise(*_: Any, **__: Any) -> bool:
    raise ConnectionError
