-- How events relate to others, as their content says: a row for each child that clients may be shown and that is not
-- redacted. `relates_to_id` is the parent, which may not be stored. `annotation` is a keyed hash of what must not be
-- annotated twice: parent, sender, type and key of an annotation. Derived from `events`.

CREATE TABLE relations (
    event_nid        bigint PRIMARY KEY,
    room_nid         bigint NOT NULL,
    event_id         text COLLATE "C" NOT NULL,
    relates_to_id    text COLLATE "C" NOT NULL,
    rel_type         text COLLATE "C" NOT NULL,
    type             text COLLATE "C" NOT NULL,
    sender           text COLLATE "C" NOT NULL,
    origin_server_ts bigint NOT NULL,
    position         bigint NOT NULL,
    minor            integer NOT NULL,
    annotation       bytea
);
CREATE INDEX relations_children ON relations (relates_to_id, rel_type, position, minor);
CREATE INDEX relations_threads ON relations (room_nid, relates_to_id, position, minor, sender)
    WHERE rel_type = 'm.thread';
CREATE INDEX relations_annotations ON relations (annotation) WHERE annotation IS NOT NULL;

-- For finding the event that is nearest to a time.
CREATE INDEX events_time ON events (room_nid, origin_server_ts, position, minor) WHERE position IS NOT NULL;
