"""Requests to other homeservers: the options of federation, and no contact without a trust gate."""

from pathlib import Path

import pytest

from tim_server.app.outgoing import outgoing_client
from tim_server.config.federation import FederationSettings
from tim_server.config.load import ConfigurationError
from tim_server.egress.client import OutgoingRequest
from tim_server.egress.errors import ContactRefused


def federation(**options: object) -> FederationSettings:
    return FederationSettings.model_validate(options, context={"folder": "/"})


async def test_nobody_is_contacted_while_there_is_no_gate() -> None:
    client = outgoing_client(federation(hosts={"b.example": "127.0.0.1:1"}, private_networks_allowed=["127.0.0.0/8"]))
    with pytest.raises(ContactRefused):
        await client.send(OutgoingRequest(method="GET", url="https://b.example/"))
    await client.close()


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_told(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "authorities.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"federation\.ca_file"):
        outgoing_client(federation(ca_file=str(path)))
