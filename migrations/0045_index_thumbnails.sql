-- Which thumbnails were made first, and how much they take.
CREATE INDEX thumbnails_by_age ON thumbnails (created_ts) INCLUDE (size_bytes);
