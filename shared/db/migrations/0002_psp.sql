-- Payment service providers: what they promise, what is sent to them, what they said, and what was decided on it.
--
-- Retention: sent outbox rows, results and resolutions are kept for the reconciliation window; references and payments
-- for as long as a provider may still speak of them (they tell a second payment from the first); alerts for ever.

-- The manifests, as data: what each adapter declares. Orchestrators poll this register.
CREATE TABLE pm.psp (
    psp        text        PRIMARY KEY CHECK (psp ~ '^[a-z][a-z0-9]{1,15}$'),
    manifest   json        NOT NULL,
    version    integer     NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER bump AFTER INSERT OR UPDATE OR DELETE ON pm.psp
    FOR EACH STATEMENT EXECUTE FUNCTION pm.bump_register();

-- The kill switch: a row says that an operation of a provider is paused; '*' is every operation.
CREATE TABLE pm.psp_control (
    psp       text        NOT NULL,
    operation text        NOT NULL DEFAULT '*',
    reason    text        NOT NULL,
    paused_by text        NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (psp, operation)
);
CREATE TRIGGER bump AFTER INSERT OR UPDATE OR DELETE ON pm.psp_control
    FOR EACH STATEMENT EXECUTE FUNCTION pm.bump_register();
INSERT INTO pm.register_version (name) VALUES ('psp'), ('psp_control');

-- What the payer is asked to do; when the provider is asked next what became of it, and how often it was asked.
-- All of it is NULL or 0 on instant channels.
ALTER TABLE pm.intent
    ADD COLUMN next_action json,
    ADD COLUMN next_poll_at timestamptz,
    ADD COLUMN polls integer NOT NULL DEFAULT 0;
CREATE INDEX intent_due ON pm.intent (next_poll_at) WHERE next_poll_at IS NOT NULL;

CREATE INDEX intent_parent ON pm.intent (parent_id) WHERE parent_id IS NOT NULL;

-- Our reference at a provider, in its own alphabet: allocated before anything is sent, and never used twice.
CREATE TABLE pm.psp_reference (
    psp        text        NOT NULL,
    reference  text        NOT NULL,
    intent_id  uuid        NOT NULL,
    attempt    smallint    NOT NULL,
    psp_ids    jsonb       NOT NULL DEFAULT '{}',  -- what the provider calls it, as far as it said so
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (psp, reference),
    UNIQUE (intent_id, attempt)
);

-- Jobs on their way to an adapter, written with the decision that causes them.
CREATE TABLE pm.outbox_event (
    intent_id  uuid        NOT NULL,
    attempt    smallint    NOT NULL,
    action     text        NOT NULL CHECK (action IN ('submit', 'cancel')),
    psp        text        NOT NULL,
    body       json        NOT NULL,              -- the job; personal fields are sealed
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz,
    PRIMARY KEY (intent_id, attempt, action)
);
CREATE INDEX outbox_unsent ON pm.outbox_event (psp, intent_id) WHERE sent_at IS NULL;
-- Partial: every row was unsent once, so a full BRIN index would take any range for one that may hold unsent ones.
CREATE INDEX outbox_sent ON pm.outbox_event USING brin (sent_at) WHERE sent_at IS NOT NULL;

-- Everything that was heard of a provider: answers, verdicts, callbacks with their bytes sealed. One row an entry.
CREATE TABLE pm.psp_result (
    psp         text        NOT NULL,
    entry_id    text        NOT NULL,             -- in results.{psp}: what is read again is written once
    intent_id   uuid,                             -- NULL: nobody here knows what it speaks of
    attempt     smallint,
    source      text        NOT NULL,
    outcome     text        NOT NULL,
    body        json        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (psp, entry_id)
);
CREATE INDEX psp_result_intent ON pm.psp_result (intent_id) WHERE intent_id IS NOT NULL;
CREATE INDEX psp_result_received ON pm.psp_result USING brin (received_at);

-- What is to be done about a held or expected payment: one an attempt, committed before the ledger is touched.
-- Whoever finds another resolution here carries that one out.
CREATE TABLE pm.resolution (
    intent_id          uuid        NOT NULL,
    attempt            smallint    NOT NULL,
    kind               text        NOT NULL CHECK (kind IN ('post', 'void', 'credit', 'close')),
    state              text        NOT NULL CHECK (state IN ('SETTLED', 'FAILED', 'EXPIRED')),
    code               text,                      -- why, where it is not settled
    amount_minor       bigint      CHECK (amount_minor BETWEEN 1 AND 4611686018427387904),
    psp                text        NOT NULL,
    psp_transaction_id text,
    evidence           json        NOT NULL,      -- what the provider said, masked
    ledger_attempt     smallint    NOT NULL CHECK (ledger_attempt BETWEEN 1 AND 63),  -- in the ids of its transfers
    created_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (intent_id, attempt),
    UNIQUE (psp, psp_transaction_id),
    CHECK ((kind IN ('post', 'credit')) = (state = 'SETTLED')),
    CHECK ((kind IN ('post', 'credit')) = (amount_minor IS NOT NULL)),
    CHECK ((state = 'SETTLED') = (code IS NULL))
);

-- Every payment that a provider has named, and the intent whose reference it named; `settles` where it is the payment
-- that this intent was waiting for.
CREATE TABLE pm.psp_tx_map (
    psp                text        NOT NULL,
    psp_transaction_id text        NOT NULL,
    intent_id          uuid        NOT NULL,
    attempt            smallint    NOT NULL,
    settles            boolean     NOT NULL,
    amount_minor       bigint      NOT NULL,
    currency           text        NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (psp, psp_transaction_id)
);
CREATE INDEX psp_tx_map_intent ON pm.psp_tx_map (intent_id);

-- The intents that a payment opened because no plan expected it: their ids are allocated here, once a purpose.
CREATE TABLE pm.psp_child (
    psp                text        NOT NULL,
    psp_transaction_id text        NOT NULL,
    purpose            text        NOT NULL CHECK (purpose IN ('late_credit', 'reversal', 'suspense',
                                                               'suspense_reversal')),
    child_id           uuid        NOT NULL UNIQUE,
    parent_id          uuid        NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (psp, psp_transaction_id, purpose)
);
CREATE INDEX psp_child_parent ON pm.psp_child (parent_id);

-- What is held of a wallet's balance: posted − held is what can be spent.
ALTER TABLE pm.account_balance ADD COLUMN held numeric(38, 0) NOT NULL DEFAULT 0;

-- What somebody has to look at: one row a subject, however often it is noticed.
CREATE TABLE pm.reconciliation_alert (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    severity   text        NOT NULL CHECK (severity IN ('warning', 'critical')),
    kind       text        NOT NULL,
    subject    text        NOT NULL,
    intent_id  uuid,
    detail     json        NOT NULL,
    seen       integer     NOT NULL DEFAULT 1,
    first_at   timestamptz NOT NULL DEFAULT now(),
    last_at    timestamptz NOT NULL DEFAULT now(),
    closed_at  timestamptz,
    UNIQUE (kind, subject)
);
