"""No function waits for the network while it holds a transaction open."""

import pytest

from tests.architecture.sources import package_modules, parse_module, report
from tests.architecture.transaction_rules import network_in_transaction


def test_no_network_inside_a_transaction() -> None:
    broken = [violation for module in package_modules() for violation in network_in_transaction(module)]
    assert not broken, report(broken)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "async def f(self):\n    async with self.database.transaction():\n        await self.egress.get()\n",
            id="egress by attribute",
        ),
        pytest.param(
            "from tim_server.federation.keys import fetch_keys\n"
            "async def f(database):\n    async with database.read() as tx:\n        await fetch_keys(tx)\n",
            id="imported function",
        ),
        pytest.param(
            "async def f(tx: Connection, remote):\n    async with remote.request() as answer:\n        return answer\n",
            id="handed an open transaction",
        ),
    ],
)
def test_network_inside_a_transaction_is_found(text: str) -> None:
    assert len(list(network_in_transaction(parse_module("tim_server/services/sample.py", text)))) == 1


def test_network_before_the_transaction_is_fine() -> None:
    text = (
        "async def f(self):\n"
        "    found = await self.egress.get()\n"
        "    async with self.database.transaction() as tx:\n"
        "        await put(tx, found)\n"
    )
    assert list(network_in_transaction(parse_module("tim_server/services/sample.py", text))) == []
