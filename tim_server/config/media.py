"""Files that users upload: where they are kept, and how large they may be."""

from pydantic import Field

from tim_server.config.base import PathOption, SecretKeyOption, Section

MIB = 2**20


class MediaStoreSettings(Section):
    """Where files are kept. They are sealed, each under a key of its own."""

    folder: PathOption | None = Field(
        default=None,
        examples=["/var/lib/tim-server/media"],
        description="The folder of the files; without, the folder media of data_dir. Processes on several machines "
        "need the same one.",
    )
    master_key: SecretKeyOption | None = Field(
        default=None,
        examples=["what the command `openssl rand -base64 32` prints"],
        description="Seals the keys of files: 32 random bytes in Base64. Without, it is made at the first start, in "
        "the file media.master.key of data_dir. Keep it safe, apart from backups: without it all files are lost. Also "
        "as master_key_file.",
    )
    former_master_key: SecretKeyOption | None = Field(
        default=None,
        examples=["the master_key until now"],
        description="To replace the master key: the one until now. After one start with both it is needed no more. "
        "Also as former_master_key_file.",
    )


class MediaSettings(Section):
    """What users upload, and what is fetched of other servers."""

    upload_bytes_max: int = Field(
        default=120 * MIB, ge=65_536, description="Size of a file that users upload: 100 MB, and what encryption adds."
    )
    quota_bytes_per_user: int | None = Field(
        default=10_240 * MIB, ge=0, description="Size of all files that a user has uploaded; null for no limit."
    )
    upload_timeout_s: float = Field(
        default=3_600.0, ge=1.0, description="How many seconds a client has to upload a file."
    )
    remote_lifetime_s: float | None = Field(
        default=14 * 86_400.0,
        ge=3_600.0,
        description="How many seconds copies of other servers' files are kept after somebody has last looked at them; "
        "null for ever. Who wants one later has it fetched anew.",
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
    unauthenticated_downloads: bool = Field(
        default=False,
        description="Whether the deprecated endpoints below /_matrix/media/v3/ serve files to whoever knows their "
        "address. The telematics infrastructure asks for them.",
    )
