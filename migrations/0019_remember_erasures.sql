-- Users whose messages are served redacted to whoever comes after them: the clock when they asked for erasure.

ALTER TABLE users ADD COLUMN erased_position bigint;

CREATE INDEX users_erased ON users (user_id) WHERE erased_position IS NOT NULL;
