-- Until when it holds what another server has said of its user; null for users of this server.

ALTER TABLE presence ADD COLUMN expires_ts bigint;

CREATE INDEX presence_expires ON presence (expires_ts) WHERE expires_ts IS NOT NULL;
