-- The rules that people change while the mesh runs: fees, limits, velocity, routes, and when a business day begins.
-- `paymesh rules apply` is the one way to change them; what was ever in force stays readable.
--
-- Retention: rule_change and rule_version are kept for ever (intents name the versions that they were planned by);
-- velocity_event is pruned beyond the longest window; limit_usage once its period has been over for as long.

-- One row: where the business is, which decides when its days begin and what `hour` and `weekday` mean in a rule.
CREATE TABLE pm.business (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    time_zone text    NOT NULL DEFAULT 'UTC',
    version   integer NOT NULL DEFAULT 1 CHECK (version > 0)
);
INSERT INTO pm.business DEFAULT VALUES;

-- A change: everything that one `apply` or `rollback` did, in one transaction.
CREATE TABLE pm.rule_change (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text        NOT NULL,
    reason     text        NOT NULL,
    undoes     bigint      REFERENCES pm.rule_change,  -- a rollback: every change after this one was taken back
    diff       text        NOT NULL                    -- as it was shown to whoever confirmed it
);

-- Every version of every entry that was ever in force; `body` NULL is its removal.
CREATE TABLE pm.rule_version (
    kind      text    NOT NULL CHECK (kind IN ('fee', 'limit', 'velocity', 'route', 'business', 'key', 'switch')),
    name      text    NOT NULL,
    version   integer NOT NULL CHECK (version > 0),
    body      jsonb,
    change_id bigint  NOT NULL REFERENCES pm.rule_change,
    PRIMARY KEY (kind, name, version)
);
CREATE INDEX rule_version_change ON pm.rule_version (change_id);

-- What a payment costs besides. All rules that apply are charged, in the order of priority, name.
CREATE TABLE pm.fee_rule (
    name              text        PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    version           integer     NOT NULL CHECK (version > 0),
    operations        text[]      NOT NULL CHECK (cardinality(operations) > 0),
    currency          text        NOT NULL,
    tags              text[]      NOT NULL DEFAULT '{}',   -- the intent has all of them
    timing            text        NOT NULL CHECK (timing IN ('PRE', 'POST')),
    condition         text        NOT NULL DEFAULT 'true', -- CEL
    fixed_minor       bigint      CHECK (fixed_minor >= 0),
    bps               integer     CHECK (bps BETWEEN 0 AND 10000),
    min_minor         bigint      CHECK (min_minor >= 0),
    max_minor         bigint      CHECK (max_minor >= min_minor),
    amount_expression text,                                -- CEL, instead of the four above
    beneficiary       text        NOT NULL,
    priority          integer     NOT NULL,
    final             boolean     NOT NULL DEFAULT false,  -- where it applies, no later rule is looked at
    active_from       timestamptz,
    active_until      timestamptz CHECK (active_until > active_from),
    CHECK ((amount_expression IS NULL) = (fixed_minor IS NOT NULL)),
    CHECK ((fixed_minor IS NULL) = (bps IS NULL) AND (fixed_minor IS NULL) = (min_minor IS NULL))
);

-- How much may go. Each of the four caps is an allowance in the ledger, one a holder and period.
CREATE TABLE pm.limit_rule (
    name                  text    PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    version               integer NOT NULL CHECK (version > 0),
    operations            text[]  NOT NULL CHECK (cardinality(operations) > 0),
    currency              text    NOT NULL,
    tags                  text[]  NOT NULL DEFAULT '{}',
    transaction_max_minor bigint  CHECK (transaction_max_minor > 0),
    daily_max_minor       bigint  CHECK (daily_max_minor >= 0),
    daily_max_count       bigint  CHECK (daily_max_count >= 0),
    monthly_max_minor     bigint  CHECK (monthly_max_minor >= 0),
    monthly_max_count     bigint  CHECK (monthly_max_count >= 0),
    CHECK (num_nonnulls(transaction_max_minor, daily_max_minor, daily_max_count, monthly_max_minor,
                        monthly_max_count) > 0)
);

-- What looks like fraud: too many payments, or too much, of one user or to one destination within a window.
CREATE TABLE pm.velocity_rule (
    name          text    PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    version       integer NOT NULL CHECK (version > 0),
    operations    text[]  NOT NULL CHECK (cardinality(operations) > 0),
    currency      text    NOT NULL,
    tags          text[]  NOT NULL DEFAULT '{}',
    condition     text    NOT NULL DEFAULT 'true',
    per           text    NOT NULL CHECK (per IN ('user', 'destination')),
    window_s      integer NOT NULL CHECK (window_s BETWEEN 1 AND 2592000),
    max_count     integer CHECK (max_count >= 0),
    max_sum_minor bigint  CHECK (max_sum_minor >= 0),
    action        text    NOT NULL CHECK (action IN ('reject', 'monitor')),
    CHECK (num_nonnulls(max_count, max_sum_minor) > 0)
);

-- What velocity rules have counted: one row an intent and rule, whatever became of the intent.
CREATE TABLE pm.velocity_event (
    rule         text        NOT NULL,
    subject      text        NOT NULL,              -- a wallet's owner, or a keyed hash of where the money goes
    intent_id    uuid        NOT NULL,
    at           timestamptz NOT NULL,              -- the time inside the id
    amount_minor bigint      NOT NULL,
    seq          bigint      GENERATED ALWAYS AS IDENTITY,  -- the order of counting: each counts those before it
    PRIMARY KEY (rule, subject, at, intent_id)
);
CREATE INDEX velocity_event_at ON pm.velocity_event USING brin (at);

-- Routes get names, and more to be chosen by. The lowest priority comes first; equals share by weight.
ALTER TABLE pm.payment_route
    ADD COLUMN name           text,
    ADD COLUMN tags           text[]  NOT NULL DEFAULT '{}',
    ADD COLUMN weight         integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),
    ADD COLUMN error_max_pct  integer CHECK (error_max_pct BETWEEN 0 AND 100),
    ADD COLUMN p95_max_ms     integer CHECK (p95_max_ms > 0);
UPDATE pm.payment_route SET name = lower(replace(operation_type, '_', '-')) || '-' || lower(replace(channel, '_', '-'))
                                   || CASE WHEN id <= 2 THEN '' ELSE '-' || id END;
ALTER TABLE pm.payment_route
    ALTER COLUMN name SET DEFAULT 'route-' || left(gen_random_uuid()::text, 8),
    ALTER COLUMN name SET NOT NULL,
    ADD CONSTRAINT payment_route_name UNIQUE (name),
    ADD CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$');

-- What is used of each allowance, as the decisions recorded it: the read model of the limits ledger.
CREATE TABLE pm.limit_usage (
    account_id uuid           PRIMARY KEY,
    name       text           NOT NULL,
    used       numeric(38, 0) NOT NULL DEFAULT 0,
    reserved   numeric(38, 0) NOT NULL DEFAULT 0,
    resets_at  timestamptz    NOT NULL
);
CREATE INDEX limit_usage_resets ON pm.limit_usage USING brin (resets_at);

-- Why an intent was refused or is watched, for programs: which limit, what is left of it, when it resets.
ALTER TABLE pm.intent ADD COLUMN error_data json;

INSERT INTO pm.register_version (name)
VALUES ('business'), ('fee_rule'), ('limit_rule'), ('velocity_rule');

-- Whoever listens hears of a change at once; polling the versions is the backstop.
CREATE OR REPLACE FUNCTION pm.bump_register() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pm.register_version SET version = version + 1 WHERE name = TG_TABLE_NAME;
    PERFORM pg_notify('pm_register', TG_TABLE_NAME);
    RETURN NULL;
END $$;

CREATE TRIGGER bump AFTER INSERT OR UPDATE OR DELETE ON pm.business
    FOR EACH STATEMENT EXECUTE FUNCTION pm.bump_register();
CREATE TRIGGER bump AFTER INSERT OR UPDATE OR DELETE ON pm.fee_rule
    FOR EACH STATEMENT EXECUTE FUNCTION pm.bump_register();
CREATE TRIGGER bump AFTER INSERT OR UPDATE OR DELETE ON pm.limit_rule
    FOR EACH STATEMENT EXECUTE FUNCTION pm.bump_register();
CREATE TRIGGER bump AFTER INSERT OR UPDATE OR DELETE ON pm.velocity_rule
    FOR EACH STATEMENT EXECUTE FUNCTION pm.bump_register();
