"""Well-known files: what counts as one, for how long, and where it may lead."""

import gzip
from typing import Any

import pytest
from aiohttp import web

from tests.eventually import eventually
from tests.federation.conftest import NAME, WELL_KNOWN, Surroundings
from tim_server.federation.well_known import lifetime_of


@pytest.mark.parametrize(
    "page",
    [
        web.Response(status=500, text='{"m.server": "bad.example:1"}'),
        web.Response(text="no JSON"),
        web.json_response({"m.server": 7}),
        web.json_response({"m.server": "not a name!"}),
        web.json_response(["m.server"]),
        web.Response(text='{"m.server": "bad.example:1"' + " " * 60_000 + "}"),
    ],
)
async def test_a_well_known_file_that_is_none_counts_for_nothing(surroundings: Surroundings, page: Any) -> None:
    surroundings.pages[NAME, WELL_KNOWN] = page
    assert (await surroundings.locate()).authority == f"{NAME}:8448"


async def test_redirects_are_followed_within_bounds_and_over_tls_only(surroundings: Surroundings) -> None:
    pages = surroundings.pages
    pages[NAME, WELL_KNOWN] = web.Response(status=302, headers={"Location": "/moved"})
    pages[NAME, "/moved"] = web.json_response({"m.server": "matrix.example:1"})
    assert (await surroundings.locate()).authority == "matrix.example:1"
    surroundings.now[0] += 3 * 24 * 3600
    for location in ("http://hospital.example/moved", WELL_KNOWN, "https://127.0.0.1/", "https://10.0.0.1/"):
        pages[NAME, WELL_KNOWN] = web.Response(status=302, headers={"Location": location})
        assert (await surroundings.locate()).authority == f"{NAME}:8448"
        surroundings.now[0] += 3600


async def test_what_is_found_is_remembered_as_long_as_it_says_within_bounds(surroundings: Surroundings) -> None:
    surroundings.delegate("matrix.example:1", **{"Cache-Control": "max-age=1000"})
    for seconds, count in ((0, 1), (900, 1), (200, 2)):
        surroundings.now[0] += seconds
        await surroundings.locate()
        assert surroundings.asked == [f"{NAME}{WELL_KNOWN}"] * count


@pytest.mark.parametrize(
    ("headers", "lifetime_s"),
    [
        ({}, 24 * 3600),
        ({"Cache-Control": "max-age=7200, public"}, 7200),
        ({"Cache-Control": "max-age=99999999999999999999"}, 48 * 3600),
        ({"Cache-Control": "no-store"}, 300),
        ({"Expires": "Thu, 01 Jan 1970 02:00:00 GMT"}, 7200),
        ({"Expires": "0"}, 300),
    ],
)
def test_how_long_a_well_known_file_counts(headers: dict[str, str], lifetime_s: float) -> None:
    assert lifetime_of(headers, now_ts=0) == lifetime_s


NO_ANSWER = web.Response(text=" " * 60_000)
"""What is not read to its end is as good as nothing."""


async def test_a_file_that_can_not_be_had_goes_on_to_count_for_two_days(surroundings: Surroundings) -> None:
    surroundings.delegate("matrix.example:1")
    assert (await surroundings.locate()).authority == "matrix.example:1"
    surroundings.now[0] += 25 * 3600
    for page in (web.Response(status=500), NO_ANSWER, web.Response(text="<html>under construction</html>")):
        surroundings.pages[NAME, WELL_KNOWN] = page
        assert (await surroundings.locate()).authority == "matrix.example:1"
        surroundings.now[0] += 3600
    surroundings.now[0] += 48 * 3600
    assert (await surroundings.locate()).authority == f"{NAME}:8448"


async def test_a_file_that_is_gone_counts_no_more(surroundings: Surroundings) -> None:
    surroundings.delegate("matrix.example:1")
    await surroundings.locate()
    surroundings.now[0] += 25 * 3600
    surroundings.pages[NAME, WELL_KNOWN] = web.Response(status=404)
    assert (await surroundings.locate()).authority == f"{NAME}:8448"


async def test_failures_are_remembered_longer_each_time_up_to_an_hour(surroundings: Surroundings) -> None:
    surroundings.pages[NAME, WELL_KNOWN] = web.Response(status=500)
    times: list[float] = []
    for minute in range(300):
        surroundings.now[0] = minute * 60
        surroundings.asked.clear()
        await surroundings.locate()
        if f"{NAME}{WELL_KNOWN}" in surroundings.asked:
            times.append(minute)
    assert times == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


async def test_nobody_waits_again_for_a_web_server_that_did_not_answer(surroundings: Surroundings) -> None:
    surroundings.pages[NAME, WELL_KNOWN] = NO_ANSWER
    await surroundings.locate()
    surroundings.now[0] += 61
    surroundings.delegate("matrix.example:1")
    assert (await surroundings.locate()).authority == f"{NAME}:8448"
    await eventually(surroundings.locate, lambda located: located.authority == "matrix.example:1")
    assert surroundings.asked.count(f"{NAME}{WELL_KNOWN}") == 2


async def test_a_file_that_leads_nowhere_is_soon_read_again(surroundings: Surroundings) -> None:
    surroundings.delegate("old.example:1")
    located = await surroundings.locate()
    surroundings.delegate("new.example:1")
    surroundings.discovery.doubt(NAME, located)
    assert (await surroundings.locate()).authority == "old.example:1"
    surroundings.now[0] += 301
    assert (await surroundings.locate()).authority == "new.example:1"


async def test_a_redirect_to_whom_the_gate_refuses_counts_for_nothing(surroundings: Surroundings) -> None:
    surroundings.refused.add("elsewhere.example")
    location = {"Location": "https://elsewhere.example/moved"}
    surroundings.pages[NAME, WELL_KNOWN] = web.Response(status=302, headers=location)
    surroundings.pages["elsewhere.example", "/moved"] = web.json_response({"m.server": "bad.example:1"})
    assert (await surroundings.locate()).authority == f"{NAME}:8448"
    assert "elsewhere.example/moved" not in surroundings.asked


@pytest.mark.parametrize(
    "page",
    [
        web.Response(body=gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"}),
        web.Response(text="[" * 51_000),
        web.Response(text='{"m.server": "' + "a" * 50_000 + '"}'),
        web.json_response({"m.server": "bad.example:99999999"}),
        web.json_response({"m.server": "user@bad.example"}),
        web.json_response({"m.server": "bad.example/path"}),
        web.json_response({"m.server": "bad.example\n"}),
        web.json_response({"m.server": ""}),
    ],
)
async def test_bombs_and_nonsense_do_no_harm(surroundings: Surroundings, page: Any) -> None:
    surroundings.pages[NAME, WELL_KNOWN] = page
    assert (await surroundings.locate()).authority == f"{NAME}:8448"
