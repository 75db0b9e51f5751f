-- Accounts: users, their devices and tokens, registration, interactive authentication, profiles, account data, filters.
-- Times are milliseconds since 1970 by the server's clock. Tokens are kept as SHA-256 hashes only.

CREATE TABLE users (
    user_id        text COLLATE "C" PRIMARY KEY,
    password_hash  text COLLATE "C",
    is_admin       boolean NOT NULL DEFAULT false,
    is_guest       boolean NOT NULL DEFAULT false,
    user_type      text COLLATE "C",
    created_ts     bigint NOT NULL,
    locked_ts      bigint,
    suspended_ts   bigint,
    deactivated_ts bigint
) WITH (fillfactor = 80);

CREATE TABLE devices (
    user_id      text COLLATE "C" NOT NULL,
    device_id    text COLLATE "C" NOT NULL,
    display_name text COLLATE "C",
    created_ts   bigint NOT NULL,
    last_seen_ts bigint NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITH (fillfactor = 80);

CREATE TABLE refresh_tokens (
    token_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash  bytea NOT NULL UNIQUE,
    user_id     text COLLATE "C" NOT NULL,
    device_id   text COLLATE "C" NOT NULL,
    expires_ts  bigint,
    predecessor bigint
);
CREATE INDEX refresh_tokens_device ON refresh_tokens (user_id, device_id);
CREATE INDEX refresh_tokens_predecessor ON refresh_tokens (predecessor) WHERE predecessor IS NOT NULL;

CREATE TABLE access_tokens (
    token_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash       bytea NOT NULL UNIQUE,
    user_id          text COLLATE "C" NOT NULL,
    device_id        text COLLATE "C" NOT NULL,
    expires_ts       bigint,
    refresh_token_id bigint
);
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);
CREATE INDEX access_tokens_refresh_token ON access_tokens (refresh_token_id) WHERE refresh_token_id IS NOT NULL;

CREATE TABLE login_attempts (
    user_id    text COLLATE "C" PRIMARY KEY,
    failures   integer NOT NULL,
    expires_ts bigint NOT NULL
);
CREATE INDEX login_attempts_expires ON login_attempts (expires_ts);

CREATE TABLE registration_tokens (
    token        text COLLATE "C" PRIMARY KEY,
    uses_allowed integer,
    completed    integer NOT NULL DEFAULT 0,
    expires_ts   bigint
);

CREATE TABLE registration_nonces (
    nonce      text COLLATE "C" PRIMARY KEY,
    expires_ts bigint NOT NULL
);
CREATE INDEX registration_nonces_expires ON registration_nonces (expires_ts);

CREATE TABLE uia_sessions (
    session_id         text COLLATE "C" PRIMARY KEY,
    operation          text COLLATE "C" NOT NULL,
    user_id            text COLLATE "C",
    completed          text[] COLLATE "C" NOT NULL,
    registration_token text COLLATE "C",
    consumed           boolean NOT NULL DEFAULT false,
    expires_ts         bigint NOT NULL
);
CREATE INDEX uia_sessions_expires ON uia_sessions (expires_ts);
CREATE INDEX uia_sessions_registration_token ON uia_sessions (registration_token) WHERE registration_token IS NOT NULL;

CREATE TABLE profiles (
    user_id  text COLLATE "C" NOT NULL,
    field    text COLLATE "C" NOT NULL,
    value    bytea NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, field)
);

CREATE TABLE account_data (
    user_id  text COLLATE "C" NOT NULL,
    room_id  text COLLATE "C" NOT NULL,
    type     text COLLATE "C" NOT NULL,
    content  bytea NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, room_id, type)
);
CREATE INDEX account_data_position ON account_data (user_id, position);

CREATE TABLE filters (
    user_id         text COLLATE "C" NOT NULL,
    filter_id       bigint NOT NULL,
    definition_hash bytea NOT NULL,
    definition      bytea NOT NULL,
    PRIMARY KEY (user_id, filter_id)
);
CREATE UNIQUE INDEX filters_definition ON filters (user_id, definition_hash);
