"""What all sections share: frozen models that know every key, paths relative to the file, secrets kept in files."""

import base64
import binascii
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    model_validator,
)

from tim_server.matrix.identifiers import ServerName

FILE_SUFFIX = "_file"
SECRET_KEY_BYTES = 32
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(:[0-9]{1,5})?")


class Section(BaseModel):
    """A group of options. A secret may be given as `<name>_file`, the path of a file that holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: Any, info: ValidationInfo) -> Any:
        if values is None:  # a section whose options are all commented out
            return {}
        if not isinstance(values, dict):
            return values
        result = dict(values)
        for name in secret_names(cls):
            path = result.pop(name + FILE_SUFFIX, None)
            if path is None:
                continue
            if result.get(name) is not None:
                raise ValueError(f"give either {name} or {name}{FILE_SUFFIX}")
            result[name] = _read_secret(relative_to_file(Path(str(path)), info))
        return result


def secret_names(model: type[BaseModel]) -> tuple[str, ...]:
    """The options of `model` that are secrets."""
    return tuple(name for name, field in model.model_fields.items() if "SecretStr" in str(field.annotation))


def _read_secret(path: Path) -> str:
    try:
        secret = path.read_text().strip()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if not secret:
        raise ValueError(f"{path} is empty")
    return secret


def relative_to_file(path: Path, info: ValidationInfo) -> Path:
    """`path`, seen from the folder of the configuration file."""
    folder = (info.context or {}).get("folder") or Path()
    return (Path(folder) / path.expanduser()).absolute()


def _parse_server_name(value: Any) -> ServerName:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return ServerName.parse(value)


def _parse_network(value: Any) -> str:
    try:
        return str(ipaddress.ip_network(str(value)))
    except ValueError as error:
        raise ValueError(f"not a network such as 10.0.0.0/8: {error}") from None


def _check_http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("not an http or https URL without query and fragment")
    return value


def _check_dsn(value: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(value.get_secret_value())
        hosts = parts.netloc.rpartition("@")[2].split(",")  # several: the first that answers is taken
        is_dsn = parts.scheme in ("postgresql", "postgres") and bool(parts.username)
        is_dsn = is_dsn and all(_HOST_AND_PORT.fullmatch(host) for host in hosts)
    except ValueError:  # brackets that don't close
        is_dsn = False
    if not is_dsn:
        raise ValueError("must have the form postgresql://role:password@host:port/database")
    return value


def _check_key(value: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(value.get_secret_value(), validate=True)
    except binascii.Error:
        raise ValueError("not Base64") from None
    if len(key) != SECRET_KEY_BYTES:
        raise ValueError(f"must be {SECRET_KEY_BYTES} bytes in Base64")
    return value


ServerNameOption = Annotated[ServerName, PlainValidator(_parse_server_name), PlainSerializer(str)]
PathOption = Annotated[Path, AfterValidator(relative_to_file), PlainSerializer(str)]
NetworkOption = Annotated[str, PlainValidator(_parse_network), PlainSerializer(str)]
HttpUrlOption = Annotated[str, AfterValidator(_check_http_url)]
DsnOption = Annotated[SecretStr, AfterValidator(_check_dsn)]
SecretKeyOption = Annotated[SecretStr, AfterValidator(_check_key)]
