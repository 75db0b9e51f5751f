-- Rooms that administrators delete, and rooms that nobody of this server may enter.

CREATE TABLE room_deletions (
    nid             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delete_id       text COLLATE "C" NOT NULL UNIQUE,
    room_id         text COLLATE "C" NOT NULL,
    room_nid        bigint,           -- NULL where the room was not known
    requested_by    text COLLATE "C" NOT NULL,
    purges          boolean NOT NULL,
    status          text COLLATE "C" NOT NULL,
    requested_ts    bigint NOT NULL,
    due_ts          bigint NOT NULL,  -- when the next step is to be taken
    attempts        integer NOT NULL DEFAULT 0,
    problem         text COLLATE "C",
    begun_position  bigint NOT NULL,  -- the clock when it was asked for
    position        bigint,           -- the clock when everybody had left
    told_until_ts   bigint,           -- how long the purge waits for other servers to be told
    walked_user     text COLLATE "C" NOT NULL DEFAULT '',
    left_users      text[] COLLATE "C" NOT NULL DEFAULT '{}',
    left_count      bigint NOT NULL DEFAULT 0,
    aliases         text[] COLLATE "C" NOT NULL DEFAULT '{}',
    events_deleted  bigint NOT NULL DEFAULT 0,
    files_deleted   bigint NOT NULL DEFAULT 0,
    finished_ts     bigint
);
CREATE UNIQUE INDEX room_deletions_open ON room_deletions (room_id) WHERE finished_ts IS NULL;
CREATE INDEX room_deletions_room ON room_deletions (room_id, nid);
CREATE INDEX room_deletions_finished ON room_deletions (finished_ts) WHERE finished_ts IS NOT NULL;

CREATE TABLE blocked_rooms (
    room_id    text COLLATE "C" PRIMARY KEY,
    blocked_by text COLLATE "C" NOT NULL,
    blocked_ts bigint NOT NULL
);
