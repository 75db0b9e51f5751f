-- Of whom an event's notify class does not tell all: users whose rules make something else of it, or whom it names.
-- `level` is 0 (nothing), 1 (notified) or 2 (highlighted); `position` the event's place in the timeline.

CREATE TABLE notifications (
    user_id    text COLLATE "C" NOT NULL,
    room_nid   bigint NOT NULL,
    position   bigint NOT NULL,
    level      smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, room_nid, position)
);
CREATE INDEX notifications_newest ON notifications (user_id, position);
CREATE INDEX notifications_created ON notifications USING brin (created_at);

-- What unread events are counted from, without a look at the events themselves.
CREATE INDEX events_counted ON events (room_nid, position) INCLUDE (sender, thread_id, notify_class, redacted_by)
WHERE notify_class > 0 AND minor = 0;

-- Whether there may be events that must be looked at for the sake of these rules; no: notify classes tell all.
ALTER TABLE push_rules ADD COLUMN looks_at_events boolean NOT NULL DEFAULT true;
