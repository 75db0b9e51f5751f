-- Who is typing. UNLOGGED: written often, worth nothing after a crash, which empties the table. Times are milliseconds
-- since 1970 by the servers' clocks. `position` is the clock when the user began or ceased to type, `expires_ts` when
-- they will have, or have, ceased.

CREATE UNLOGGED TABLE typing (
    room_nid   bigint NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    is_typing  boolean NOT NULL,
    expires_ts bigint NOT NULL,
    position   bigint NOT NULL,
    PRIMARY KEY (room_nid, user_id)
) WITH (fillfactor = 50);
CREATE INDEX typing_position ON typing (room_nid, position);
CREATE INDEX typing_expires ON typing (is_typing, expires_ts);
