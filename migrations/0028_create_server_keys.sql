-- Keys that other servers sign with, and the documents in which they say so, for those who ask this server as a notary.

CREATE TABLE server_keys (
    server_name    text COLLATE "C" NOT NULL,
    key_id         text COLLATE "C" NOT NULL,
    verify_key     bytea NOT NULL,
    valid_until_ts bigint NOT NULL,
    is_old         boolean NOT NULL,
    PRIMARY KEY (server_name, key_id)
);

CREATE TABLE server_key_documents (
    server_name    text COLLATE "C" PRIMARY KEY,
    document       bytea NOT NULL,
    fetched_ts     bigint NOT NULL,
    valid_until_ts bigint NOT NULL
);
