-- The clock, rooms, events, state and memberships: the log that everything else derives from.
-- Keys are compared by bytes (COLLATE "C"), so that a changed collation of the system never corrupts an index.

CREATE TABLE commits (
    position     bigint PRIMARY KEY,
    writer_nonce bigint NOT NULL,
    touched      bytea NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE clock_incarnations (
    singleton          boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    postgres_timeline  bigint NOT NULL,
    postgres_started   timestamptz NOT NULL
);

CREATE SEQUENCE nid_blocks AS bigint;

CREATE TABLE rooms (
    nid                 bigint PRIMARY KEY,
    room_id             text COLLATE "C" NOT NULL UNIQUE,
    room_version        text COLLATE "C" NOT NULL,
    head_version        bigint NOT NULL,
    forward_extremities bigint[] NOT NULL,
    depth               bigint NOT NULL,
    snapshot            bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE events (
    nid              bigint PRIMARY KEY,
    room_nid         bigint NOT NULL,
    position         bigint,
    minor            integer NOT NULL DEFAULT 0,
    depth            bigint NOT NULL,
    origin_server_ts bigint NOT NULL,
    snapshot         bigint,
    redacted_by      bigint,
    replaces         bigint,
    notify_class     smallint NOT NULL DEFAULT 0,
    soft_failed      boolean NOT NULL DEFAULT false,
    event_id         text COLLATE "C" NOT NULL,
    type             text COLLATE "C" NOT NULL,
    state_key        text COLLATE "C",
    sender           text COLLATE "C" NOT NULL,
    rejected         text COLLATE "C",
    prev_nids        bigint[] NOT NULL,
    auth_nids        bigint[] NOT NULL,
    body             bytea NOT NULL
);
CREATE UNIQUE INDEX events_event_id ON events (event_id);
CREATE UNIQUE INDEX events_timeline ON events (room_nid, position, minor) WHERE position IS NOT NULL;

CREATE TABLE timeline_holes (
    room_nid bigint NOT NULL,
    position bigint NOT NULL,
    missing  text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (room_nid, position)
);

CREATE TABLE state_snapshots (
    nid      bigint PRIMARY KEY,
    room_nid bigint NOT NULL,
    parent   bigint,
    depth    integer NOT NULL,
    added    bigint[] NOT NULL,
    removed  bigint[] NOT NULL
);
CREATE INDEX state_snapshots_room ON state_snapshots (room_nid);

CREATE TABLE room_state_log (
    room_nid bigint NOT NULL,
    position bigint NOT NULL,
    snapshot bigint NOT NULL,
    PRIMARY KEY (room_nid, position)
);

CREATE TABLE current_state (
    room_nid  bigint NOT NULL,
    type      text COLLATE "C" NOT NULL,
    state_key text COLLATE "C" NOT NULL,
    event_nid bigint NOT NULL,
    PRIMARY KEY (room_nid, type, state_key)
);

CREATE TABLE memberships (
    user_id    text COLLATE "C" NOT NULL,
    room_nid   bigint NOT NULL,
    membership text COLLATE "C" NOT NULL,
    event_nid  bigint NOT NULL,
    position   bigint NOT NULL,
    PRIMARY KEY (user_id, room_nid)
);
CREATE INDEX memberships_room ON memberships (room_nid, membership);

CREATE TABLE membership_history (
    user_id    text COLLATE "C" NOT NULL,
    room_nid   bigint NOT NULL,
    position   bigint NOT NULL,
    membership text COLLATE "C" NOT NULL,
    event_nid  bigint,
    PRIMARY KEY (user_id, room_nid, position)
);
CREATE INDEX membership_history_room ON membership_history (room_nid, position);

CREATE TABLE forgotten_rooms (
    user_id  text COLLATE "C" NOT NULL,
    room_nid bigint NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, room_nid)
);

CREATE TABLE client_transactions (
    user_id    text COLLATE "C" NOT NULL,
    device_id  text COLLATE "C" NOT NULL,
    key_hash   bytea NOT NULL,
    txn_id     text COLLATE "C" NOT NULL,
    event_nid  bigint NOT NULL,
    event_id   text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, device_id, key_hash)
);
CREATE INDEX client_transactions_event ON client_transactions (event_nid);
CREATE INDEX client_transactions_created ON client_transactions USING brin (created_at);

CREATE TABLE room_aliases (
    alias      text COLLATE "C" PRIMARY KEY,
    room_nid   bigint NOT NULL,
    creator    text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX room_aliases_room ON room_aliases (room_nid);

CREATE TABLE published_rooms (
    room_nid   bigint PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE federation_outbox (
    destination text COLLATE "C" NOT NULL,
    position    bigint NOT NULL,
    event_nid   bigint NOT NULL,
    PRIMARY KEY (destination, position)
);

CREATE TABLE audit_log (
    nid      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor    text COLLATE "C" NOT NULL,
    action   text COLLATE "C" NOT NULL,
    object   text COLLATE "C" NOT NULL,
    outcome  text COLLATE "C" NOT NULL
);
