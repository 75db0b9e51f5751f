"""What clients ask for when they start, and this server does not have: the answer lets them go on."""

from tests.people import Hospital


async def test_no_turn_server_is_said_in_a_way_that_ends_the_asking(hospital: Hospital) -> None:
    await (await hospital.person()).refused(403, "M_FORBIDDEN", "GET", "voip/turnServer")


async def test_no_other_networks(hospital: Hospital) -> None:
    assert await (await hospital.person()).get("thirdparty/protocols") == {}


async def test_no_third_party_identifiers(hospital: Hospital) -> None:
    assert await (await hospital.person()).get("account/3pid") == {"threepids": []}


async def test_no_oauth_and_no_single_sign_on(hospital: Hospital) -> None:
    alice = await hospital.person()
    for path in (
        "/_matrix/client/v1/auth_metadata",
        "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
        "/_matrix/client/v3/login/sso/redirect",
        "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports",
    ):
        await alice.refused(404, "M_UNRECOGNIZED", "GET", path)
