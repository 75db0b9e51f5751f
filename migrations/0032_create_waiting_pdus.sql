-- Events that other servers have sent and that can't be judged before others are fetched. `number` is their order.

CREATE TABLE waiting_pdus (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_nid bigint NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    origin   text COLLATE "C" NOT NULL,
    pdu      bytea NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    due_ts   bigint NOT NULL,
    UNIQUE (room_nid, event_id)
);
CREATE INDEX waiting_pdus_due ON waiting_pdus (due_ts);
CREATE INDEX waiting_pdus_origin ON waiting_pdus (origin);
