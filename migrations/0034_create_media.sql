-- Files that users upload, and copies of those of other servers. The bytes lie outside the database, sealed.

-- Keys that seal the keys of files; themselves sealed by the master key, which is not here.
CREATE TABLE media_keys (
    number     integer PRIMARY KEY,
    sealed_key bytea   NOT NULL,
    created_ts bigint  NOT NULL
);

CREATE TABLE media (
    server_name    text COLLATE "C" NOT NULL,
    media_id       text COLLATE "C" NOT NULL,
    user_id        text COLLATE "C",           -- who uploaded it; NULL for copies of other servers' media
    object_name    text COLLATE "C" NOT NULL,
    details        bytea            NOT NULL,  -- sealed: the key of the file, its content type, its name
    size_bytes     bigint           NOT NULL,
    sha256         bytea            NOT NULL,
    created_ts     bigint           NOT NULL,
    last_access_ts bigint           NOT NULL,  -- to the day
    PRIMARY KEY (server_name, media_id)
);

-- Objects that no medium has: being written, or to be removed. Noted before they are written, so that none is lost sight of.
CREATE TABLE media_leftovers (
    object_name text COLLATE "C" PRIMARY KEY,
    due_ts      bigint  NOT NULL,
    is_doomed   boolean NOT NULL DEFAULT false
);
CREATE INDEX media_leftovers_by_due ON media_leftovers (due_ts);
