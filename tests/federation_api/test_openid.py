"""Proving to another service who one is."""

from typing import Any

from tests.conftest import Neighbourhood

USERINFO = "/_matrix/federation/v1/openid/userinfo"


async def userinfo(neighbourhood: Neighbourhood, token: str | None) -> tuple[int, Any]:
    """What somebody is told who is no homeserver."""
    query = {} if token is None else {"access_token": token}
    async with neighbourhood.a.session.get(USERINFO, params=query) as response:
        return response.status, await response.json()


async def test_a_token_tells_who_asked_for_it(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    answer = await alice.post(f"user/{alice.user_id}/openid/request_token", {})
    token = answer.pop("access_token")
    assert answer == {"token_type": "Bearer", "matrix_server_name": "a.example", "expires_in": 3600}
    assert await userinfo(neighbourhood, token) == (200, {"sub": alice.user_id})


async def test_a_token_gives_access_to_nothing(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    token = (await alice.post(f"user/{alice.user_id}/openid/request_token", {}))["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    async with neighbourhood.a.session.get("/_matrix/client/v3/account/whoami", headers=headers) as response:
        assert response.status == 401


async def test_tokens_of_others_can_not_be_asked_for(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.a.person()
    await alice.refused(403, "M_FORBIDDEN", "POST", f"user/{bob.user_id}/openid/request_token", {})


async def test_what_is_no_token_is_told_as_such(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    for token in ("x", "x" * 1000, alice.token):
        status, answer = await userinfo(neighbourhood, token)
        assert (status, answer["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    status, answer = await userinfo(neighbourhood, None)
    assert (status, answer["errcode"]) == (401, "M_MISSING_TOKEN")


async def test_a_token_ends_with_the_account(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    token = (await alice.post(f"user/{alice.user_id}/openid/request_token", {}))["access_token"]
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": alice.user_id}}
    body = {"auth": {**auth, "password": "correct horse battery"}}
    status, session = await alice.request("POST", "account/deactivate", {})
    body["auth"]["session"] = session["session"]
    await alice.post("account/deactivate", body)
    assert status == 401
    assert (await userinfo(neighbourhood, token))[0] == 401
