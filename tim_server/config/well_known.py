"""What /.well-known/matrix/ answers, and whom users may contact."""

from typing import Any, Literal

from pydantic import Field, model_validator

from tim_server.config.base import HttpUrlOption, Section


class ContactSettings(Section):
    """Somebody to turn to."""

    role: Literal["m.role.admin", "m.role.security"] = Field(description="What the contact is for.")
    matrix_id: str | None = Field(default=None, pattern="^@.+:.+$", description="The contact's Matrix ID.")
    email_address: str | None = Field(default=None, pattern="^.+@.+$", description="The contact's email address.")

    @model_validator(mode="after")
    def _check_reachable(self) -> "ContactSettings":
        if self.matrix_id is None and self.email_address is None:
            raise ValueError("give matrix_id or email_address")
        return self


class WellKnownSettings(Section):
    """Files that clients and servers look for at https://<server_name>/.well-known/matrix/."""

    client_base_url: HttpUrlOption | None = Field(
        default=None,
        examples=["https://matrix.example.org"],
        description="Where clients reach this server; without, /.well-known/matrix/client is not found.",
    )
    client_extra: dict[str, Any] = Field(
        default_factory=dict,
        examples=[{"io.element.e2ee": {"default": True}}],
        description="Further keys of /.well-known/matrix/client.",
    )
    server: str | None = Field(
        default=None,
        examples=["matrix.example.org:443"],
        description="Where other servers reach this one; without, /.well-known/matrix/server is not found.",
    )
    contacts: tuple[ContactSettings, ...] = Field(
        default=(),
        examples=[[{"role": "m.role.admin", "matrix_id": "@admin:example.org", "email_address": "admin@example.org"}]],
        description="Contacts in /.well-known/matrix/support.",
    )
    support_page: HttpUrlOption | None = Field(
        default=None, examples=["https://example.org/support"], description="A page with help for users."
    )
