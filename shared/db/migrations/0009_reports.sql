-- What moved, a line a business day, and the reports made of it. Days follow the ledger's clock; what has been walked
-- is added here once and never changes afterwards, so that a past day reads the same for ever.
--
-- Retention: everything is kept for ever. It grows by days, channels and house accounts, not by payments; wallets stand
-- here in total only.

-- How far the ledger has been walked: every transfer up to this one is in the tables below.
CREATE TABLE pm.ledger_digest (
    singleton  boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    walked_ns  bigint      NOT NULL DEFAULT 0 CHECK (walked_ns >= 0),
    day        date,                              -- the day that is open; NULL before the first transfer
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO pm.ledger_digest DEFAULT VALUES;

-- Days without gaps: each begins where the one before ended, whatever the time zone has been changed to meanwhile.
CREATE TABLE pm.business_day (
    day       date        PRIMARY KEY,
    time_zone text        NOT NULL,
    starts_ns bigint      NOT NULL UNIQUE,
    ends_ns   bigint      NOT NULL UNIQUE,        -- the first nanosecond after it, by the ledger's clock
    closed_at timestamptz,                        -- since when nothing can be added
    standing  json,                               -- what was open when it ended; NULL: it was closed too late to tell
    CHECK (starts_ns < ends_ns)
);

-- What stood on an account when the day began, and what the day did to it. Balances are credits less debits.
CREATE TABLE pm.ledger_day (
    day           date           NOT NULL,
    account       text           NOT NULL,        -- a house account's name; user:*:<CCY> and merchant:*:<CCY> in total
    opening       numeric(39, 0) NOT NULL,
    debits        numeric(39, 0) NOT NULL,
    credits       numeric(39, 0) NOT NULL,
    opening_held  numeric(39, 0) NOT NULL,        -- of it, held on its way out: debits pending
    held          numeric(39, 0) NOT NULL,        -- by how much the day changed that
    opening_due   numeric(39, 0) NOT NULL,        -- held on its way in: credits pending
    due           numeric(39, 0) NOT NULL,
    PRIMARY KEY (day, account)
);

-- What moved between which accounts, for which operation, through which channel, because of what.
CREATE TABLE pm.ledger_flow (
    day            date           NOT NULL,
    operation_type text           NOT NULL,
    channel        text           NOT NULL,
    code           integer        NOT NULL,
    debit          text           NOT NULL,
    credit         text           NOT NULL,
    moved          bigint         NOT NULL,       -- legs that moved money, posted holds included
    moved_minor    numeric(39, 0) NOT NULL,
    held           bigint         NOT NULL,       -- holds placed
    held_minor     numeric(39, 0) NOT NULL,
    voided         bigint         NOT NULL,       -- holds given back
    voided_minor   numeric(39, 0) NOT NULL,
    ended_minor    numeric(39, 0) NOT NULL,       -- no longer held, posted or given back: what the holds had held
    PRIMARY KEY (day, operation_type, channel, code, debit, credit)
);

-- Reports as they were made, soon after their period had ended. Made again they are the same, byte for byte.
CREATE TABLE pm.report (
    kind    text        NOT NULL CHECK (kind IN ('day', 'week')),
    period  text        NOT NULL,                 -- 2026-11-28, or 2026-W48
    format  integer     NOT NULL,                 -- of the body: another release may write another one beside it
    body    text        NOT NULL,                 -- JSON
    sha256  text        NOT NULL CHECK (length(sha256) = 64),
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, period, format)
);
