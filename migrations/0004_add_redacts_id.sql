-- A redaction may arrive before the event that it names: kept here, it takes effect once that event is stored.

ALTER TABLE events ADD COLUMN redacts_id text COLLATE "C";

CREATE INDEX events_redacts_id ON events (redacts_id) WHERE redacts_id IS NOT NULL;
