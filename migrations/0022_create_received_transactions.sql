-- Transactions of other servers that were answered: when a server repeats one, it gets the same answer.

CREATE TABLE received_transactions (
    origin      text COLLATE "C" NOT NULL,
    txn_id      text COLLATE "C" NOT NULL,
    answer      bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (origin, txn_id)
);
CREATE INDEX received_transactions_age ON received_transactions (received_at);
