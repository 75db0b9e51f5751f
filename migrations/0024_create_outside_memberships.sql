-- Memberships of local users in rooms that this server is not in: remote invites and knocks, and what became of them.
-- The newest of each user and room, with the member event, which is not among `events`: it could not be checked.

CREATE TABLE outside_memberships (
    room_nid         bigint NOT NULL,
    user_id          text COLLATE "C" NOT NULL,
    event_nid        bigint NOT NULL,
    position         bigint NOT NULL,
    membership       text COLLATE "C" NOT NULL,
    room_version     text COLLATE "C" NOT NULL,
    event_id         text COLLATE "C" NOT NULL,
    answers          text COLLATE "C",
    sender           text COLLATE "C" NOT NULL,
    origin_server_ts bigint NOT NULL,
    via              text COLLATE "C",
    body             bytea NOT NULL,
    stripped_state   bytea,
    PRIMARY KEY (room_nid, user_id)
);
CREATE UNIQUE INDEX outside_memberships_event ON outside_memberships (event_nid);
