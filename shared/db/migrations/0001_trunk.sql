-- The intent log, its read model and the registers around them.
--
-- Retention, for every table that grows: intent, intent_attempt, intent_event and tx_history keep whole months and
-- are dropped partition by partition (never before the reconciliation window has passed); idempotency_key is pruned
-- by age beyond that window; audit_log and tb_account_map are kept for ever.

CREATE SCHEMA pm;

-- One row: who this mesh is. Compared with Redis and the ledger at every start (a restored or emptied store lags).
CREATE TABLE pm.mesh (
    singleton   boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    id          uuid        NOT NULL,
    ledger_kind text        NOT NULL CHECK (ledger_kind IN ('tigerbeetle', 'postgres')),
    epoch       integer     NOT NULL DEFAULT 1 CHECK (epoch > 0),
    partitions  smallint    NOT NULL CHECK (partitions BETWEEN 1 AND 256),
    tick        bigint      NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- Bumped by trigger whenever the named register changes, so that pollers fetch a register only when it has.
CREATE TABLE pm.register_version (
    name    text   PRIMARY KEY,
    version bigint NOT NULL DEFAULT 1
);
INSERT INTO pm.register_version (name) VALUES ('service_key'), ('payment_route');

CREATE FUNCTION pm.bump_register() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pm.register_version SET version = version + 1 WHERE name = TG_TABLE_NAME;
    RETURN NULL;
END $$;

-- Who may post. Secrets are sealed; two may be live at once, the second until its end date.
CREATE TABLE pm.service_key (
    id               text        PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    owner            text        NOT NULL,
    permissions      jsonb       NOT NULL,
    secret           text        NOT NULL,
    previous_secret  text,
    previous_ends_at timestamptz,
    disabled_at      timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CHECK ((previous_secret IS NULL) = (previous_ends_at IS NULL))
);
CREATE TRIGGER bump AFTER INSERT OR UPDATE OR DELETE ON pm.service_key
    FOR EACH STATEMENT EXECUTE FUNCTION pm.bump_register();

-- Which channel carries which operation. The lowest priority number wins.
CREATE TABLE pm.payment_route (
    id             bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation_type text    NOT NULL,
    currency       text,                                  -- NULL: every currency
    amount_min     bigint  NOT NULL DEFAULT 1 CHECK (amount_min >= 1),
    amount_max     bigint  NOT NULL DEFAULT 4611686018427387904,
    channel        text    NOT NULL,
    priority       integer NOT NULL DEFAULT 100,
    active         boolean NOT NULL DEFAULT true,
    version        integer NOT NULL DEFAULT 1,
    CHECK (amount_max BETWEEN amount_min AND 4611686018427387904)
);
CREATE TRIGGER bump AFTER INSERT OR UPDATE OR DELETE ON pm.payment_route
    FOR EACH STATEMENT EXECUTE FUNCTION pm.bump_register();
INSERT INTO pm.payment_route (operation_type, channel)
VALUES ('P2P_TRANSFER', 'INTERNAL_P2P'), ('ADJUSTMENT', 'INTERNAL_ADJUSTMENT');

-- Every account name that has been opened in the ledger, after the ledger said so.
CREATE TABLE pm.tb_account_map (
    name      text        PRIMARY KEY,
    id        uuid        NOT NULL UNIQUE,
    ledger    integer     NOT NULL,
    opened_by text        NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now()
);

-- The backstop behind Redis' hour of memory: unpartitioned, so that a key is unique across months.
CREATE TABLE pm.idempotency_key (
    service_key_id text        NOT NULL,
    key            text        NOT NULL,
    fingerprint    text        NOT NULL,
    intent_id      uuid        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service_key_id, key)
);
CREATE INDEX ON pm.idempotency_key USING brin (created_at);

CREATE TABLE pm.intent (
    id                  uuid        NOT NULL PRIMARY KEY,
    service_key_id      text        NOT NULL,
    user_id             text,
    idempotency_key     text        NOT NULL,
    operation_type      text        NOT NULL,
    channel             text,
    amount_minor        bigint      NOT NULL CHECK (amount_minor BETWEEN 1 AND 4611686018427387904),
    currency            text        NOT NULL,
    state               text        NOT NULL CHECK (state IN ('VALIDATED', 'AUTHORIZED', 'SETTLED', 'FAILED',
                                                    'EXPIRED', 'REJECTED', 'DUPLICATE', 'IN_DOUBT')),
    version             integer     NOT NULL CHECK (version > 0),
    attempt             smallint    NOT NULL DEFAULT 1 CHECK (attempt BETWEEN 1 AND 63),
    funds               text        NOT NULL DEFAULT 'none' CHECK (funds IN ('none', 'held', 'moved', 'unknown')),
    error_code          text,
    error_detail        text,
    alias_of            uuid,
    parent_id           uuid,
    requires_monitoring boolean     NOT NULL DEFAULT false,
    tags                text[]      NOT NULL DEFAULT '{}',
    operation           json        NOT NULL,             -- as accepted; personal fields sealed
    created_at          timestamptz NOT NULL,             -- the time inside the id
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'DUPLICATE') = (alias_of IS NOT NULL)),
    CHECK (state <> 'REJECTED' OR error_code IS NOT NULL)
) PARTITION BY RANGE (id);

-- The open intents, few at any time: what the sweeper looks at. Terminal ones leave it.
CREATE INDEX intent_open ON pm.intent (id) WHERE state IN ('VALIDATED', 'AUTHORIZED', 'IN_DOUBT');

-- The plan is written down before it is carried out, and carried out byte for byte: hence json, not jsonb.
CREATE TABLE pm.intent_attempt (
    intent_id  uuid        NOT NULL,
    attempt    smallint    NOT NULL CHECK (attempt BETWEEN 1 AND 63),
    plan       json        NOT NULL,
    burned_at  timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (intent_id, attempt)
) PARTITION BY RANGE (intent_id);

-- One row per transition, in the transaction of the transition; seq is the intent's version after it.
CREATE TABLE pm.intent_event (
    intent_id  uuid        NOT NULL,
    seq        integer     NOT NULL,
    from_state text        NOT NULL,
    to_state   text        NOT NULL,
    detail     json,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (intent_id, seq)
) PARTITION BY RANGE (intent_id);

-- One row per leg and customer account; amounts are signed (credits positive). Time-ordered by transfer id.
CREATE TABLE pm.tx_history (
    account_id  uuid        NOT NULL,
    transfer_id uuid        NOT NULL,
    intent_id   uuid        NOT NULL,
    amount_minor bigint     NOT NULL,
    code        integer     NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (account_id, transfer_id)
) PARTITION BY RANGE (transfer_id);

-- What the read model says a wallet holds: the sum of its tx_history, kept by deltas. Internal accounts are hot and
-- belong to the reconciler. numeric, since two amounts of 2^62 overflow a bigint and one overflow fails a batch.
CREATE TABLE pm.account_balance (
    account_id  uuid           PRIMARY KEY,
    posted      numeric(38, 0) NOT NULL DEFAULT 0,
    updated_at  timestamptz    NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE pm.audit_log (
    id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now(),
    actor  text        NOT NULL,
    action text        NOT NULL,
    target text        NOT NULL,
    reason text,
    detail jsonb
);

-- The smallest UUIDv7 of a moment: where a month's partition begins.
CREATE FUNCTION pm.uuid7_floor(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0') || rpad('', 20, '0'))::uuid
$$;

-- Creates the partitions of `months` months from the one that `since` lies in; returns how many were missing.
-- A row that no month takes falls into DEFAULT: a missing month must never fail a batch. Its month, made late, takes
-- it over. A month is made beside its parent and attached, which holds up nobody who writes to another month.
CREATE FUNCTION pm.ensure_partitions(since timestamptz, months integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent  text;
    key     text;
    month   timestamp;  -- in UTC: months have no fixed length in any other zone
    child   text;
    first   uuid;
    past    uuid;
    created integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('pm.ensure_partitions'));
    FOR parent, key IN VALUES ('intent', 'id'), ('intent_attempt', 'intent_id'), ('intent_event', 'intent_id'),
                              ('tx_history', 'transfer_id') LOOP
        FOR ahead IN 0 .. months - 1 LOOP
            month := date_trunc('month', since AT TIME ZONE 'UTC') + make_interval(months => ahead);
            child := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
            CONTINUE WHEN to_regclass('pm.' || child) IS NOT NULL;
            first := pm.uuid7_floor(month AT TIME ZONE 'UTC');
            past := pm.uuid7_floor((month + interval '1 month') AT TIME ZONE 'UTC');
            EXECUTE format('CREATE TABLE pm.%I (LIKE pm.%I INCLUDING ALL)', child, parent);
            EXECUTE format('LOCK TABLE pm.%I IN ACCESS EXCLUSIVE MODE', parent || '_default');
            EXECUTE format('WITH stray AS (DELETE FROM pm.%1$I WHERE %2$I >= %3$L AND %2$I < %4$L RETURNING *) '
                           'INSERT INTO pm.%5$I SELECT * FROM stray', parent || '_default', key, first, past, child);
            EXECUTE format('ALTER TABLE pm.%I ATTACH PARTITION pm.%I FOR VALUES FROM (%L) TO (%L)',
                           parent, child, first, past);
            created := created + 1;
        END LOOP;
    END LOOP;
    RETURN created;
END $$;

CREATE TABLE pm.intent_default PARTITION OF pm.intent DEFAULT;
CREATE TABLE pm.intent_attempt_default PARTITION OF pm.intent_attempt DEFAULT;
CREATE TABLE pm.intent_event_default PARTITION OF pm.intent_event DEFAULT;
CREATE TABLE pm.tx_history_default PARTITION OF pm.tx_history DEFAULT;
SELECT pm.ensure_partitions(now(), 4);
