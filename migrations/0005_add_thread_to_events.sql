-- The thread that an event belongs to, as the id of its root; NULL: the main timeline.

ALTER TABLE events ADD COLUMN thread_id text COLLATE "C";
