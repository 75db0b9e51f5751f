-- Tokens by which users prove to other services who they are; only their hashes are kept.

CREATE TABLE openid_tokens (
    token_hash bytea PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL,
    expires_ts bigint NOT NULL
);
CREATE INDEX openid_tokens_expires ON openid_tokens (expires_ts);
CREATE INDEX openid_tokens_user ON openid_tokens (user_id);
