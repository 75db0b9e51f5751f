-- How much a user has uploaded, and which copies of other servers' files nobody has looked at for long.
CREATE INDEX media_by_user ON media (user_id) INCLUDE (size_bytes) WHERE user_id IS NOT NULL;
CREATE INDEX media_copies_by_access ON media (last_access_ts) WHERE user_id IS NULL;
