-- Keys of users of other servers stand in the tables of keys beside those of our own. A row here says that they do, and
-- when they were asked for; what changed at the other server since is in device_list_changes.

CREATE TABLE remote_device_lists (
    user_id  text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
);

-- Messages to devices of other servers, as EDUs that wait for their transaction.

CREATE TABLE to_device_outbox (
    destination text COLLATE "C" NOT NULL,
    number      bigint GENERATED ALWAYS AS IDENTITY,
    edu         bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (destination, number)
);
CREATE INDEX to_device_outbox_created ON to_device_outbox USING brin (created_at);
