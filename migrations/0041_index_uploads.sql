-- Which uploads nobody has looked at for long; how much the copies of other servers' files take.
CREATE INDEX media_uploads_by_access ON media (last_access_ts) WHERE user_id IS NOT NULL;
DROP INDEX media_copies_by_access;
CREATE INDEX media_copies_by_access ON media (last_access_ts) INCLUDE (size_bytes) WHERE user_id IS NULL;
