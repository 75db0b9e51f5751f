-- What users have reported to the administrators. `kind` is event, room or user; `user_id` the user who is reported, or
-- who sent the event. Reason and note are content. An open report has no `decided_by`, unless it was opened again.

CREATE TABLE reports (
    nid         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text COLLATE "C" NOT NULL,
    reporter    text COLLATE "C" NOT NULL,
    room_id     text COLLATE "C",
    event_id    text COLLATE "C",
    user_id     text COLLATE "C",
    score       integer,
    reason      bytea,
    received_ts bigint NOT NULL,
    status      text COLLATE "C" NOT NULL DEFAULT 'open',
    decided_by  text COLLATE "C",
    decided_ts  bigint,
    note        bytea
);
CREATE INDEX reports_open ON reports (reporter) WHERE status = 'open';
