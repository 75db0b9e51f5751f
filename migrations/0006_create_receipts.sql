-- How far each user has read. `thread_id` is empty for a receipt that is about all of the room, else 'main' or the root
-- of a thread. `event_position` is the event's place in the timeline, `position` the clock when the receipt was set.

CREATE TABLE receipts (
    room_nid       bigint NOT NULL,
    user_id        text COLLATE "C" NOT NULL,
    receipt_type   text COLLATE "C" NOT NULL,
    thread_id      text COLLATE "C" NOT NULL,
    event_id       text COLLATE "C" NOT NULL,
    event_position bigint NOT NULL,
    ts             bigint NOT NULL,
    position       bigint NOT NULL,
    PRIMARY KEY (room_nid, user_id, receipt_type, thread_id)
) WITH (fillfactor = 70);
CREATE INDEX receipts_position ON receipts (room_nid, position);
