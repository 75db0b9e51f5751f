"""Logs and metrics."""

from typing import Literal

from pydantic import Field, SecretStr

from tim_server.config.base import Section


class ObservabilitySettings(Section):
    """Logs go to standard error and name identifiers, never content."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="What is logged. ERROR means that somebody must act."
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="One JSON object a line, or lines for people."
    )
    log_queue_length_max: int = Field(
        default=10_000,
        ge=100,
        description="How many lines may wait to be written; what is more is dropped and counted.",
    )
    pseudonym_key: SecretStr | None = Field(
        default=None,
        examples=["a long random string"],
        description="Identifiers in logs are replaced by pseudonyms made with this key. Also as pseudonym_key_file.",
    )
