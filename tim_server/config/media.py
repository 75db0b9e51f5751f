"""Files that users upload: where they are kept, and how large they may be."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from tim_server.config.base import HttpUrlOption, PathOption, SecretKeyOption, Section

MIB = 2**20
_UNIX = "unix:"
_PLACE = re.compile(r"unix:/.+|(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")


def _check_clamd(value: str) -> str:
    if not _PLACE.fullmatch(value):
        raise ValueError("must be unix: and an absolute path, or host:port")
    return value


ClamdOption = Annotated[str, AfterValidator(_check_clamd)]


class S3Settings(Section):
    """A bucket of an S3-compatible store that has the files instead of a folder. The server needs s3:PutObject,
    s3:GetObject and s3:DeleteObject there."""

    bucket: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        examples=["hospital-files"],
        description="The name of the bucket. Without, files are in a folder.",
    )
    endpoint: HttpUrlOption | None = Field(
        default=None,
        examples=["https://s3.hospital.example"],
        description="The URL of the store; without, it is Amazon's.",
    )
    region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,50}$", description="The region of the bucket.")
    prefix: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9_.-]+/)*$",
        max_length=200,
        examples=["tim/"],
        description="What the names of objects begin with: nothing, or folders, each with a slash after it.",
    )
    access_key_id: str | None = Field(
        default=None,
        examples=["AKIAIOSFODNN7EXAMPLE"],
        description="Who asks. Without, credentials come from where Amazon's tools look for them: the environment "
        "(AWS_ACCESS_KEY_ID, ...), the container, the machine.",
    )
    secret_access_key: SecretStr | None = Field(
        default=None,
        examples=["the key's secret"],
        description="The secret of access_key_id. Also as secret_access_key_file.",
    )
    ca_file: PathOption | None = Field(
        default=None,
        examples=["/etc/ssl/hospital-ca.pem"],
        description="Certificates of authorities, beside the system's, that may have signed the store's.",
    )
    timeout_s: float = Field(
        default=120.0,
        ge=1.0,
        le=840.0,
        description="How many seconds the store may take for a request: to take a whole file, for example.",
    )


class MediaStoreSettings(Section):
    """Where files are kept. They are sealed, each under a key of its own."""

    folder: PathOption | None = Field(
        default=None,
        examples=["/var/lib/tim-server/media"],
        description="The folder of the files; without, the folder media of data_dir. Processes on several machines "
        "need the same one. With s3, files only lie there while they arrive, and each machine has its own.",
    )
    s3: S3Settings = Field(default=S3Settings(), description="A bucket instead of a folder.")
    master_key: SecretKeyOption | None = Field(
        default=None,
        examples=["what the command `openssl rand -base64 32` prints"],
        description="Seals the keys of files: 32 random bytes in Base64. Without, it is made at the first start, in "
        "the file media.master.key of data_dir. Keep it safe, apart from backups: without it all files are lost. Also "
        "as master_key_file.",
    )
    master_key_command: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        examples=[["/usr/local/bin/unwrap-master-key", "--key", "tim"]],
        description="A command that prints the master key in Base64, instead of master_key: one that asks a key "
        "management service to unwrap it, for example. It is run at each start, without a shell, and has 30 seconds.",
    )
    former_master_key: SecretKeyOption | None = Field(
        default=None,
        examples=["the master_key until now"],
        description="To replace the master key: the one until now. After one start with both it is needed no more. "
        "Also as former_master_key_file.",
    )


class ScanSettings(Section):
    """Scanning of files for malware, by clamd. Its limits must let files through that are as large as they may be here:
    StreamMaxLength, MaxFileSize, MaxScanSize."""

    clamd: ClamdOption | None = Field(
        default=None,
        examples=["unix:/run/clamav/clamd.ctl"],
        description="Where clamd listens: unix: and the path of its socket, or host:port. Without, nothing is scanned.",
    )
    uploads: bool = Field(default=True, description="Whether what users upload is scanned.")
    remote: bool = Field(default=True, description="Whether what is fetched from other servers is scanned.")
    encrypted: bool = Field(
        default=False,
        description="Whether files are scanned whose content type is application/octet-stream. That is what clients "
        "call those that are encrypted end to end, of which a scanner sees nothing; others may call theirs so too.",
    )
    required: bool = Field(
        default=True, description="Whether a file is refused that can't be scanned, also while clamd is away."
    )
    timeout_s: float = Field(
        default=120.0, ge=1.0, le=1_800.0, description="How many seconds the scan of a file may take, with its waiting."
    )
    concurrent_max: int = Field(
        default=8,
        ge=1,
        le=1_000,
        description="How many files a process has scanned at once, half of them of one sender at most; others wait.",
    )

    @property
    def place(self) -> Path | tuple[str, int] | None:
        """The path of the socket, or host and port."""
        if self.clamd is None:
            return None
        if self.clamd.startswith(_UNIX):
            return Path(self.clamd.removeprefix(_UNIX))
        host, _, port = self.clamd.rpartition(":")
        return host.strip("[]"), int(port)


class MediaSettings(Section):
    """What users upload, and what is fetched of other servers."""

    upload_bytes_max: int = Field(
        default=120 * MIB, ge=65_536, description="Size of a file that users upload: 100 MB, and what encryption adds."
    )
    quota_bytes_per_user: int | None = Field(
        default=10_240 * MIB, ge=0, description="Size of all files that a user has uploaded; null for no limit."
    )
    files_per_user_max: int = Field(
        default=100_000, ge=0, description="How many files a user may have uploaded, however small."
    )
    quota_bytes: int | None = Field(
        default=None,
        ge=0,
        examples=[1_099_511_627_776],
        description="Size of all files that all users have uploaded; null for no limit. They are counted once a "
        "minute, so that what is uploaded within one may exceed it.",
    )
    upload_timeout_s: float = Field(
        default=3_600.0, ge=1.0, description="How many seconds a client has to upload a file."
    )
    local_lifetime_s: float | None = Field(
        default=None,
        ge=3_600.0,
        examples=[31_536_000.0],
        description="How many seconds uploads are kept after somebody has last looked at them, other servers included; "
        "null for ever. What is gone is gone, but the avatars of users and rooms stay.",
    )
    remote_lifetime_s: float | None = Field(
        default=14 * 86_400.0,
        ge=3_600.0,
        description="How many seconds copies of other servers' files are kept after somebody has last looked at them; "
        "null for ever. Who wants one later has it fetched anew.",
    )
    remote_kept_bytes_max: int | None = Field(
        default=51_200 * MIB,
        ge=0,
        description="Size of all copies of other servers' files, and of pictures of web pages; beyond, those that "
        "nobody has looked at for longest go within minutes. null for no limit.",
    )
    announced_lifetime_s: float = Field(
        default=86_400.0,
        ge=60.0,
        description="For how many seconds an address that a user has asked for waits for its file.",
    )
    remote_bytes_max: int = Field(
        default=120 * MIB, ge=65_536, description="Size of a file that is fetched from another server."
    )
    remote_timeout_s: float = Field(
        default=600.0, ge=1.0, description="How many seconds another server has to send a file."
    )
    thumbnail_source_bytes_max: int = Field(
        default=32 * MIB, ge=65_536, description="Size of images of which smaller ones are made."
    )
    thumbnail_pixels_max: int = Field(
        default=40_000_000,
        ge=10_000,
        le=100_000_000,
        description="How many pixels an image may have of which smaller ones are made, all of an animation together.",
    )
    thumbnail_timeout_s: int = Field(
        default=20, ge=1, description="How many seconds it may take to make an image smaller."
    )
    thumbnails_kept_bytes_max: int | None = Field(
        default=10_240 * MIB,
        ge=0,
        description="Size of all smaller images that are kept; beyond, those that were made first go within minutes, "
        "and are made anew when somebody asks for them. null for no limit.",
    )
    unauthenticated_downloads: bool = Field(
        default=False,
        description="Whether the deprecated endpoints below /_matrix/media/v3/ serve files to whoever knows their "
        "address. The telematics infrastructure asks for them.",
    )
    scan: ScanSettings = Field(default=ScanSettings(), description="Scanning for malware.")
