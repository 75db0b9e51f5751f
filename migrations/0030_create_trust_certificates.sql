-- Revocation lists as they came, by where they are published, so that a restart needs nobody to be reachable.
CREATE TABLE trust_crls (
    url             text COLLATE "C" PRIMARY KEY,
    document        bytea,
    document_sha256 text COLLATE "C",
    last_update_ts  bigint,
    attempted_ts    bigint NOT NULL,
    problem         text
);

-- Certificates that servers have proved to be who they are with, with the keys that they published over connections
-- verified by them.
CREATE TABLE trust_certificates (
    server_name     text COLLATE "C" NOT NULL,
    sha256          text COLLATE "C" NOT NULL,
    organisation_id text COLLATE "C" NOT NULL,
    chain           bytea[] NOT NULL,
    serial          text NOT NULL,
    not_after_ts    bigint NOT NULL,
    holds_until_ts  bigint NOT NULL,
    verified_ts     bigint NOT NULL,
    keys            bytea,
    keys_until_ts   bigint,
    PRIMARY KEY (server_name, sha256)
);
