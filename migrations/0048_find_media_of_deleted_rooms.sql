-- Files that events of deleted rooms refer to: they go where nothing else does.

ALTER TABLE room_deletions
    ADD COLUMN keeps_files boolean NOT NULL DEFAULT false,
    ADD COLUMN sifted_events bigint NOT NULL DEFAULT 0;  -- how many events of other rooms have been looked through

CREATE TABLE media_of_deleted_rooms (
    server_name  text COLLATE "C" NOT NULL,
    media_id     text COLLATE "C" NOT NULL,
    deletion_nid bigint NOT NULL,
    is_sought    boolean NOT NULL DEFAULT false,  -- whether the search that goes on is for it
    PRIMARY KEY (server_name, media_id)
);
CREATE INDEX media_of_deleted_rooms_deletion ON media_of_deleted_rooms (deletion_nid);

-- The search for what else refers to them, of which there is one at most: which table is looked through, behind which
-- key, and up to where in the clock what was committed since the search began.
CREATE TABLE media_searches (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    source    text COLLATE "C" NOT NULL,
    after     text[] COLLATE "C" NOT NULL,
    position  bigint NOT NULL
);
