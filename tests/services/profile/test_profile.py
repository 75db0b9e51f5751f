"""Profiles: fields, sizes, who may change them, and what follows from a change.

Spec: https://spec.matrix.org/v1.19/client-server-api/#profiles
"""

from typing import Any

import pytest

from tests.account_services import AccountServices, Policies
from tim_server.matrix.errors import Forbidden, InvalidParam, KeyTooLarge, MatrixError, NotFound, ProfileTooLarge
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.profile.fields import ProfilePolicy
from tim_server.services.profile.read import ProfileReader
from tim_server.storage.store import Store


async def set_field(services: AccountServices, requester: Requester, field: str, value: Any) -> None:
    await services.profile_change.set_field(requester, requester.user_id, field, value)


async def test_an_account_begins_with_an_empty_profile(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("anna")
    assert await account_services.profile_reader.profile(requester.user_id, None) == {}
    with pytest.raises(NotFound):
        await account_services.profile_reader.field(requester.user_id, "displayname", None)


async def test_there_is_no_profile_without_an_account(account_services: AccountServices) -> None:
    for name in ("@nobody:hospital.example", "@anna:elsewhere.example"):
        with pytest.raises(NotFound):
            await account_services.profile_reader.profile(UserId(name), None)


async def test_profiles_of_other_servers_are_asked_for_there_by_who_has_an_account(store: Store) -> None:
    asked: list[UserId] = []

    async def fetch(user_id: UserId) -> dict[str, bytes]:
        asked.append(user_id)
        return {"displayname": b'"Remote"'}

    services = AccountServices(store)
    reader = ProfileReader(
        server_name=services.server_name,
        database=store.database,
        codec=store.codec,
        policy=ProfilePolicy(),
        fetch_remote=fetch,
    )
    remote = UserId("@bo:elsewhere.example")
    with pytest.raises(Forbidden):
        await reader.field(remote, "displayname", None)
    assert asked == []
    requester = Requester(user_id=UserId("@emil:hospital.example"), device_id=None, token_id=0)
    assert await reader.field(remote, "displayname", requester) == b'"Remote"'
    assert asked == [remote]


async def test_fields_are_kept_as_given(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("bernd")
    values: dict[str, tuple[Any, bytes]] = {
        "displayname": ("Dr. Bernd Müller", '"Dr. Bernd Müller"'.encode()),
        "avatar_url": ("mxc://hospital.example/abc-DEF_1", b'"mxc://hospital.example/abc-DEF_1"'),
        "m.tz": ("Europe/Berlin", b'"Europe/Berlin"'),
        "org.example.pager": ({"b": [1, 2.5, None], "a": {}}, b'{"b":[1,2.5,null],"a":{}}'),
        "org.example.nothing": (None, b"null"),
    }
    for field, (value, _) in values.items():
        await set_field(account_services, requester, field, value)
    profile = await account_services.profile_reader.profile(requester.user_id, None)
    assert profile == {field: stored for field, (_, stored) in values.items()}


async def test_display_name_and_avatar_reach_the_rooms(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("carla")
    for field, value in (("displayname", "C"), ("avatar_url", "mxc://a/b"), ("m.tz", "UTC"), ("org.example.x", 1)):
        await set_field(account_services, requester, field, value)
    assert account_services.propagated == [requester.user_id] * 2
    await account_services.profile_change.delete_field(requester, requester.user_id, "displayname")
    assert len(account_services.propagated) == 3


@pytest.mark.parametrize("field", ["displayname", "avatar_url"])
async def test_an_empty_value_deletes_as_it_did_before_v1_16(account_services: AccountServices, field: str) -> None:
    requester = await account_services.make_requester(field.replace("_", ""))
    await set_field(account_services, requester, field, "mxc://a/b")
    await set_field(account_services, requester, field, "")
    assert await account_services.profile_reader.profile(requester.user_id, None) == {}


async def test_a_field_that_is_not_there_can_be_deleted(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("doris")
    await account_services.profile_change.delete_field(requester, requester.user_id, "org.example.x")


@pytest.mark.parametrize("field", ["", "Display", "nickname", "m.", "org.example.ä", "org example.x", "_a.b"])
async def test_names_outside_the_grammar_are_refused(account_services: AccountServices, field: str) -> None:
    requester = Requester(user_id=UserId("@emil:hospital.example"), device_id=None, token_id=0)
    with pytest.raises(InvalidParam):
        await set_field(account_services, requester, field, "x")
    with pytest.raises(InvalidParam):
        await account_services.profile_change.delete_field(requester, requester.user_id, field)


async def test_a_name_has_at_most_255_bytes(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("frieda")
    await set_field(account_services, requester, "a." + "b" * 253, 1)
    with pytest.raises(KeyTooLarge):
        await set_field(account_services, requester, "a." + "b" * 254, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("displayname", None),
        ("displayname", 7),
        ("displayname", "x" * 257),
        ("avatar_url", "https://example.org/a.png"),
        ("avatar_url", "mxc://only-a-server"),
        ("avatar_url", None),
        ("avatar_url", "mxc://a/" + "b" * 1000),
        ("m.tz", "../etc/passwd"),
        ("m.tz", 1),
    ],
)
async def test_values_of_the_wrong_kind_are_refused(account_services: AccountServices, field: str, value: Any) -> None:
    requester = Requester(user_id=UserId("@gustav:hospital.example"), device_id=None, token_id=0)
    with pytest.raises(InvalidParam):
        await set_field(account_services, requester, field, value)


async def test_a_profile_has_at_most_64_kib(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("hanna")
    overhead = len('{"org.example.a":"","org.example.b":""}')
    await set_field(account_services, requester, "org.example.a", "x" * 30_000)
    await set_field(account_services, requester, "org.example.b", "x" * (65_536 - 30_000 - overhead))
    with pytest.raises(ProfileTooLarge):
        await set_field(account_services, requester, "org.example.b", "x" * (65_536 - 30_000 - overhead + 1))
    await set_field(account_services, requester, "org.example.a", "smaller")


@pytest.mark.parametrize("value", [2**70, [[]]])
async def test_json_that_can_not_be_kept_is_refused(account_services: AccountServices, value: Any) -> None:
    requester = await account_services.make_requester("ida" + str(isinstance(value, int)).lower())
    if value == [[]]:
        for _ in range(300):
            value = [value]
    with pytest.raises(MatrixError) as caught:
        await set_field(account_services, requester, "org.example.x", value)
    assert caught.value.errcode == "M_BAD_JSON"


async def test_only_the_user_changes_a_profile(account_services: AccountServices) -> None:
    requester = await account_services.make_requester("jonas")
    other = await account_services.make_requester("jana")
    with pytest.raises(Forbidden):
        await account_services.profile_change.set_field(requester, other.user_id, "displayname", "Not Jana")
    with pytest.raises(Forbidden):
        await account_services.profile_change.delete_field(requester, other.user_id, "displayname")


async def test_guests_change_their_display_name_only(account_services: AccountServices) -> None:
    guest = Requester(user_id=UserId("@guest:hospital.example"), device_id="G", token_id=0, is_guest=True)
    await set_field(account_services, guest, "displayname", "Guest")
    with pytest.raises(Forbidden):
        await set_field(account_services, guest, "avatar_url", "mxc://a/b")


async def test_suspended_users_change_nothing(account_services: AccountServices) -> None:
    suspended = Requester(user_id=UserId("@sus:hospital.example"), device_id="S", token_id=0, is_suspended=True)
    with pytest.raises(MatrixError) as caught:
        await set_field(account_services, suspended, "displayname", "S")
    assert caught.value.errcode == "M_USER_SUSPENDED"


@pytest.mark.parametrize(
    ("policy", "capability", "may_name"),
    [
        (ProfilePolicy(), {"enabled": True}, True),
        (ProfilePolicy(changes_enabled=False), {"enabled": False}, False),
        (ProfilePolicy(disallowed=frozenset({"displayname"})), {"enabled": True, "disallowed": ["displayname"]}, False),
        (ProfilePolicy(allowed=frozenset({"m.tz"})), {"enabled": True, "allowed": ["m.tz"]}, False),
    ],
)
async def test_the_operator_decides_which_fields_users_change(
    store: Store, policy: ProfilePolicy, capability: dict[str, Any], *, may_name: bool
) -> None:
    services = AccountServices(store, Policies(profile=policy))
    requester = await services.make_requester(f"policy{len(str(capability))}")
    document = services.capabilities.document()
    assert document["m.profile_fields"] == capability
    assert document["m.set_displayname"] == {"enabled": may_name}
    if may_name:
        await set_field(services, requester, "displayname", "Name")
    else:
        with pytest.raises(Forbidden):
            await set_field(services, requester, "displayname", "Name")


async def test_looking_up_may_take_an_account(store: Store) -> None:
    services = AccountServices(store, Policies(profile=ProfilePolicy(lookup_requires_account=True)))
    requester = await services.make_requester("klara")
    with pytest.raises(Forbidden):
        await services.profile_reader.profile(requester.user_id, None)
    assert await services.profile_reader.profile(requester.user_id, requester) == {}
