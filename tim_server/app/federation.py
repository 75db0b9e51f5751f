"""The services for other homeservers."""

from tim_server.app.accounts import Services
from tim_server.app.parts import Parts, now_ms
from tim_server.services.servers.authenticate import ServerAuthenticator
from tim_server.services.servers.publish_keys import KeyPublication


def federation_services(parts: Parts) -> Services:
    """Build them over what they share."""
    federation = parts.federation
    return Services(
        fields={
            "server_authenticator": ServerAuthenticator(
                server_name=parts.author.server_name, keys=federation.keys, gate=federation.gate, now_ms=now_ms
            ),
            "key_publication": KeyPublication(author=parts.author, now_ms=now_ms),
        }
    )
