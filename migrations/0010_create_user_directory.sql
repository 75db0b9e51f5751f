-- Finding users by name: the words of names, and the rooms that make their members visible to everybody. Both derive from
-- other tables; after this migration `tim-server rebuild-derived` fills them for what was there before.

CREATE TABLE user_directory (
    user_id text COLLATE "C" NOT NULL,
    word    text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, word)
);
CREATE INDEX user_directory_word ON user_directory (word, user_id);

CREATE TABLE open_rooms (
    room_nid bigint NOT NULL,
    type     text COLLATE "C" NOT NULL,
    PRIMARY KEY (room_nid, type)
);
