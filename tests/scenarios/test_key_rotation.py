"""A hospital replaces its signing key: what it has signed stays valid, and what it signs then is believed."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.eventually import eventually
from tests.hospitals import Network, run_networked
from tim_server.config.signing_key import read_old_keys, read_signing_key, rotate_signing_key

KEYS = "/_matrix/key/v2/server"


def test_the_former_key_is_written_down_with_when_it_was_last_used(tmp_path: Path) -> None:
    from tim_server.config.signing_key import ensure_signing_key

    path = tmp_path / "h.signing.key"
    first = ensure_signing_key(path)
    second = rotate_signing_key(path, last_used_ms=1000)
    third = rotate_signing_key(path, last_used_ms=2000)
    assert read_signing_key(path).key_id == third.key_id
    old = read_old_keys(path)
    assert [(old[key.key_id].verify_key, old[key.key_id].valid_until_ts) for key in (first, second)] == [
        (first.verify_key, 1000),
        (second.verify_key, 2000),
    ]


@pytest.mark.parametrize("version", ["4", "12"])
async def test_a_room_goes_on_and_newcomers_believe_what_was_signed_before(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path, version: str
) -> None:
    network = Network.of(tmp_path, ["a.example", "b.example", "c.example"])
    dsns = {name: await make_tenant_dsn() for name in network.ports}
    async with AsyncExitStack() as stack:
        b, c = [
            await stack.enter_async_context(run_networked(network, name, dsns[name], tmp_path / name))
            for name in ("b.example", "c.example")
        ]
        bob, carol = await b.person(), await c.person()
        async with run_networked(network, "a.example", dsns["a.example"], tmp_path / "a.example") as a:
            alice = await a.person("alice")
            room_id = await alice.create_room(room_version=version)
            await bob.post(f"join/{quote(room_id)}", via="a.example")
            await alice.say(room_id, "before")
            await eventually(lambda: bob.bodies(room_id), lambda seen: "before" in seen)
            now_ms = a.process.homeservers[0].homeserver.notary.now_ms()
        rotate_signing_key(tmp_path / "a.example" / "a.example.signing.key", last_used_ms=now_ms)
        async with run_networked(network, "a.example", dsns["a.example"], tmp_path / "a.example") as a:
            alice.session = a.session
            async with a.session.get(KEYS) as response:
                assert len((await response.json())["old_verify_keys"]) == 1
            await alice.say(room_id, "after")
            await eventually(lambda: bob.bodies(room_id), lambda seen: "after" in seen)
            await carol.post(f"join/{quote(room_id)}", via="a.example")
            await carol.say(room_id, "hello")
            await eventually(lambda: bob.bodies(room_id), lambda seen: "hello" in seen)
            assert set(await bob.bodies(room_id)) == {"before", "after", "hello"}
