-- Devices and end-to-end encryption: keys of devices, one-time and fallback keys, cross-signing, device lists, messages to
-- devices, key backups. Keys, signatures, messages and backups are kept through the codec.

-- Takes the place of display_name, which is read where this is null.
ALTER TABLE devices ADD COLUMN sealed_name bytea;

CREATE TABLE device_keys (
    user_id   text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    keys      bytea NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- A key that was given out, or may have been, stays for a while without its value, so that it is not taken once more.
CREATE TABLE one_time_keys (
    user_id   text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    algorithm text COLLATE "C" NOT NULL,
    key_id    text COLLATE "C" NOT NULL,
    position  bigint NOT NULL,
    key_hash  bytea NOT NULL,
    value     bytea,
    PRIMARY KEY (user_id, device_id, algorithm, key_id)
) WITH (fillfactor = 80);
CREATE INDEX one_time_keys_unclaimed ON one_time_keys (user_id, device_id, algorithm, position, key_id)
    WHERE value IS NOT NULL;

CREATE TABLE fallback_keys (
    user_id   text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    algorithm text COLLATE "C" NOT NULL,
    key_id    text COLLATE "C" NOT NULL,
    position  bigint NOT NULL,
    key_hash  bytea NOT NULL,
    value     bytea NOT NULL,
    used      boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, device_id, algorithm)
) WITH (fillfactor = 80);

CREATE TABLE cross_signing_keys (
    user_id    text COLLATE "C" NOT NULL,
    usage      text COLLATE "C" NOT NULL,
    public_key text COLLATE "C" NOT NULL,
    key        bytea NOT NULL,
    PRIMARY KEY (user_id, usage)
);

-- What user-signing keys have signed: the master keys of others. Nobody but the signer sees it.
CREATE TABLE user_signatures (
    signer    text COLLATE "C" NOT NULL,
    target    text COLLATE "C" NOT NULL,
    position  bigint NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (signer, target)
);
CREATE INDEX user_signatures_target ON user_signatures (target);

-- When a user's devices or keys last changed for those who share a room with them, and when for themselves alone.
CREATE TABLE device_list_changes (
    user_id      text COLLATE "C" PRIMARY KEY,
    position     bigint NOT NULL DEFAULT 0,
    own_position bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
CREATE INDEX device_list_changes_position ON device_list_changes (position);

CREATE TABLE to_device_messages (
    user_id   text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    position  bigint NOT NULL,
    number    bigint GENERATED ALWAYS AS IDENTITY,
    message   bytea NOT NULL,
    PRIMARY KEY (user_id, device_id, position, number)
);

CREATE TABLE to_device_transactions (
    user_id    text COLLATE "C" NOT NULL,
    device_id  text COLLATE "C" NOT NULL,
    key_hash   bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, device_id, key_hash)
);
CREATE INDEX to_device_transactions_created ON to_device_transactions (created_at);

-- A version that was deleted stays without its auth_data, so that deleting it again succeeds and its keys are found.
CREATE TABLE key_backup_versions (
    user_id   text COLLATE "C" NOT NULL,
    version   bigint NOT NULL,
    algorithm text COLLATE "C" NOT NULL,
    auth_data bytea,
    etag      bigint NOT NULL,
    key_count integer NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, version)
) WITH (fillfactor = 80);
CREATE INDEX key_backup_versions_deleted ON key_backup_versions (user_id, version) WHERE auth_data IS NULL;

CREATE TABLE key_backup_keys (
    user_id             text COLLATE "C" NOT NULL,
    version             bigint NOT NULL,
    room_id             text COLLATE "C" NOT NULL,
    session_id          text COLLATE "C" NOT NULL,
    first_message_index bigint NOT NULL,
    forwarded_count     bigint NOT NULL,
    is_verified         boolean NOT NULL,
    session_data        bytea NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id)
);
