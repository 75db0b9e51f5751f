-- Dehydrated devices (MSC3814): a device without a session that gathers keys while no other is logged in.

CREATE TABLE dehydrated_devices (
    user_id     text COLLATE "C" PRIMARY KEY,
    device_id   text COLLATE "C" NOT NULL,
    device_data bytea NOT NULL
);
