-- A hole lies right before the event at (position, minor): also before history that was fetched into it, and more than
-- one where an event was fetched from its midst. `citing` are the events that name what is missing as before them.
-- `failures` counts attempts to fill it in a row, `due_ts` is when it may be tried again, and until `claimed_ts` somebody
-- is trying, in milliseconds since 1970. A hole in which nothing is missing any more stays, since timelines of sync do
-- not cross it.

ALTER TABLE timeline_holes
    ADD COLUMN minor integer NOT NULL DEFAULT 0,
    ADD COLUMN citing bigint[] NOT NULL DEFAULT '{}',
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    ADD COLUMN due_ts bigint NOT NULL DEFAULT 0,
    ADD COLUMN claimed_ts bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT timeline_holes_pkey,
    ADD PRIMARY KEY (room_nid, position, minor);

-- Member events that are known without having been received live: what users were in history that is fetched later.
CREATE INDEX events_former_members ON events (room_nid, state_key)
WHERE type = 'm.room.member' AND (position IS NULL OR minor <> 0);
