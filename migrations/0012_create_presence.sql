-- Who is there. UNLOGGED: written often, worth nothing after a crash, which empties these tables. Times are milliseconds
-- since 1970 by the servers' clocks.

-- What others are told of a user; `position` is the clock when that last changed.
CREATE UNLOGGED TABLE presence (
    user_id        text COLLATE "C" PRIMARY KEY,
    presence       text COLLATE "C" NOT NULL,
    status_msg     bytea,
    last_active_ts bigint NOT NULL,
    position       bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX presence_position ON presence (position);
CREATE INDEX presence_present ON presence (user_id) WHERE presence <> 'offline';

-- What each device says of itself when it syncs, noted every few seconds only, by whichever process it asks.
CREATE UNLOGGED TABLE presence_devices (
    user_id   text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    presence  text COLLATE "C" NOT NULL,
    synced_ts bigint NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITH (fillfactor = 50);
