-- Other servers as this one sends to them. Times are milliseconds since 1970.

-- `failing_since_ts` is null while sending works; else `failures` counts the attempts since then, `retry_ts` is when the
-- next one is due, and `problem` says what went wrong with the last. `txn_id` is the last transaction that was
-- acknowledged; `cursors` tell up to where the destination has the short-lived data of each source.
CREATE TABLE federation_destinations (
    destination      text COLLATE "C" PRIMARY KEY,
    succeeded_ts     bigint,
    failing_since_ts bigint,
    failures         integer NOT NULL DEFAULT 0,
    retry_ts         bigint,
    problem          text COLLATE "C",
    txn_id           text COLLATE "C",
    cursors          jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);
CREATE INDEX federation_destinations_failing ON federation_destinations (failing_since_ts)
    WHERE failing_since_ts IS NOT NULL;
