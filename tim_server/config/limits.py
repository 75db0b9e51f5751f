"""Bounds of everything that could grow; exceeding one gives a clear Matrix error."""

from pydantic import Field

from tim_server.config.base import Section


class LimitSettings(Section):
    """Bounds of one process."""

    request_body_bytes_max: int = Field(
        default=1_048_576, ge=65_536, description="Size of a request's body, except where an endpoint has its own."
    )
    bodies_bytes_max: int = Field(
        default=512 * 2**20,
        ge=2**20,
        description="About how many bytes the bodies of requests may take in a process while they arrive and are "
        "worked on, half of it those from one address. Small ones are not counted.",
    )
    header_bytes_max: int = Field(default=16_384, ge=4_096, description="Size of one header or of the request line.")
    json_depth_max: int = Field(
        default=100, ge=10, le=200, description="How deeply objects and arrays in a request may be nested."
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="How many seconds a client has to send the body of a request."
    )
    connections_max: int = Field(
        default=10_000, ge=10, description="How many connections each process accepts on one listener."
    )
    shutdown_timeout_s: float = Field(
        default=30.0, gt=0, description="How many seconds requests have to finish when the server is stopped."
    )
    cache_bytes_max: int = Field(
        default=268_435_456,
        ge=1_048_576,
        description="About how many bytes all caches of one process may take together; its homeservers share them.",
    )
    writer_queue_length_max: int = Field(
        default=20_000, ge=100, description="How many writes of a tenant may wait for the database."
    )
    room_queue_length_max: int = Field(
        default=5_000, ge=10, description="How many events may wait to be sent into one room."
    )
    commits_remembered_max: int = Field(
        default=10_000,
        ge=100,
        description="How many commits each process remembers to answer waiting syncs with, where cache_bytes_max lets "
        "it.",
    )
    sync_timeout_ms_max: int = Field(
        default=120_000, ge=0, description="How long a sync may wait for news, whatever the client asks for."
    )
    timeline_events_max: int = Field(
        default=100, ge=10, description="How many events of a room one sync answers with, whatever the filter asks for."
    )
    messages_events_max: int = Field(
        default=1_000, ge=10, description="How many events one page of a room's history holds at most."
    )
    invites_per_room_creation_max: int = Field(
        default=100, ge=1, description="How many users may be invited while a room is created."
    )
    pending_invites_per_user_max: int = Field(
        default=1_000,
        ge=1,
        description="How many invites of a user may be unanswered before other servers' further ones are refused.",
    )
    directory_page_rooms_max: int = Field(
        default=500, ge=1, description="How many rooms one page of the public directory holds at most."
    )
    space_page_rooms_max: int = Field(
        default=50, ge=1, description="How many rooms one page of a space's hierarchy holds at most."
    )
    space_rooms_max: int = Field(
        default=2_000, ge=10, description="How many rooms below a space are looked at; others are left out."
    )
    space_depth_max: int = Field(
        default=20, ge=1, le=1_000, description="How many levels below a space are looked at, whatever is asked for."
    )
    filters_per_user_max: int = Field(default=100, ge=1, description="How many filters are stored for a user.")
    push_rules_bytes_max: int = Field(
        default=131_072, ge=1_024, description="Size of the push rules that a user defines, together."
    )
    keys_query_users_max: int = Field(
        default=5_000, ge=100, description="Of how many users one request may ask for the encryption keys."
    )
    to_device_messages_per_device_max: int = Field(
        default=10_000,
        ge=1,
        description="How many messages, such as keys of encrypted rooms, wait for a device that does not sync; "
        "the oldest of those who sent the most make room.",
    )
    key_backup_keys_max: int = Field(
        default=100_000, ge=1, description="How many keys of encrypted rooms one key backup of a user may hold."
    )
    account_data_bytes_max: int = Field(default=65_536, ge=1_024, description="Size of one piece of account data.")
    tags_per_room_max: int = Field(default=100, ge=1, description="How many tags a user may give to one room.")
    typing_timeout_ms_max: int = Field(
        default=120_000, ge=1_000, description="For how long at most a user counts as typing who says nothing more."
    )
    announced_files_per_user_max: int = Field(
        default=50, ge=1, description="For how many files a user may have an address before they are uploaded."
    )
    uploads_under_way_per_user_max: int = Field(
        default=20, ge=1, description="How many files a user may be uploading at the same time, through one process."
    )
    downloads_under_way_per_user_max: int = Field(
        default=30,
        ge=1,
        description="How many files a user, another server, or an address without an account is sent at the same time, "
        "by one process; others wait.",
    )
    open_reports_per_user_max: int = Field(
        default=100, ge=1, description="How many reports of one user may wait for an administrator's decision."
    )
