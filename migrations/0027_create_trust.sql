-- What the trust gate decides by, and what it decided. All of it concerns servers, never users.

-- The last good copy of each source of trust, as it came. `generation` counts its changes, so that a process which
-- remembers the copy knows whether it is still the one. `attempted_ts` is the claim of the process that fetches.
CREATE TABLE trust_directory (
    source         text COLLATE "C" PRIMARY KEY,
    document       bytea,
    version        bigint,
    payload_sha256 text COLLATE "C",
    generation     bigint NOT NULL DEFAULT 0,
    fetched_ts     bigint,
    checked_ts     bigint,
    attempted_ts   bigint NOT NULL,
    problem        text
);

-- Refusals, and changes of who may talk to this server. Those of the same kind share a row.
CREATE TABLE trust_decisions (
    nid         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    point       text COLLATE "C" NOT NULL,
    server_name text COLLATE "C" NOT NULL,
    is_allowed  boolean NOT NULL,
    reason      text COLLATE "C" NOT NULL,
    first_ts    bigint NOT NULL,
    last_ts     bigint NOT NULL,
    times       bigint NOT NULL,
    UNIQUE (point, server_name, is_allowed, reason)
);
CREATE INDEX trust_decisions_of_points ON trust_decisions (point, last_ts, nid);
CREATE INDEX trust_decisions_of_servers ON trust_decisions (server_name, last_ts, nid);
CREATE INDEX trust_decisions_by_time ON trust_decisions (last_ts, nid);
