-- Files that nobody is given, here or not: withdrawn by an administrator, or found to contain malware when fetched.

CREATE TABLE quarantined_media (
    nid         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server_name text COLLATE "C" NOT NULL,  -- in lower case, as it may be written in any
    media_id    text COLLATE "C" NOT NULL,
    sha256      bytea,                      -- of the file, where it was here and not empty: others with it are meant too
    cause       text NOT NULL CHECK (cause IN ('administrator', 'malware')),
    decided_by  text COLLATE "C",
    created_ts  bigint NOT NULL,
    expires_ts  bigint,                     -- when it may be fetched and scanned again
    UNIQUE (server_name, media_id)
);
CREATE INDEX quarantined_media_by_content ON quarantined_media (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX quarantined_media_by_expiry ON quarantined_media (expires_ts) WHERE expires_ts IS NOT NULL;
