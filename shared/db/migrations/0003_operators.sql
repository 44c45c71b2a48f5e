-- What operators do by hand: verdicts that two people give, and dead letters that were taken away.
--
-- Retention: both are kept for ever, as the audit log is.

-- Whoever asks what happened to one intent, or one dead letter, asks by its name.
CREATE INDEX audit_target ON pm.audit_log (target);

-- A verdict on an intent in doubt: asked for by one person with evidence, approved or declined by another.
CREATE TABLE pm.operator_request (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind               text        NOT NULL CHECK (kind IN ('settle', 'fail')),
    intent_id          uuid        NOT NULL,
    attempt            smallint    NOT NULL,
    psp                text        NOT NULL,
    psp_transaction_id text,
    amount_minor       bigint      CHECK (amount_minor BETWEEN 1 AND 4611686018427387904),
    currency           text        NOT NULL,
    evidence           text        NOT NULL,      -- sealed: context the intent's id, field 'evidence'
    evidence_sha256    text        NOT NULL,      -- of the plain text, so that both people know they read the same
    reason             text        NOT NULL,
    requested_by       text        NOT NULL,      -- the name that was given
    requester          text        NOT NULL,      -- who sat at the terminal, as the operating system says
    requested_at       timestamptz NOT NULL DEFAULT now(),
    decision           text        CHECK (decision IN ('approved', 'declined')),
    decided_by         text,
    decider            text,
    decision_reason    text,
    decided_at         timestamptz,
    carried_out_at     timestamptz,               -- when the results stream had it; NULL: approve again
    CHECK ((kind = 'settle') = (psp_transaction_id IS NOT NULL)),
    CHECK ((kind = 'settle') = (amount_minor IS NOT NULL)),
    CHECK ((decision IS NULL) = (decided_by IS NULL)),
    CHECK ((decision IS NULL) = (decider IS NULL)),
    CHECK ((decision IS NULL) = (decided_at IS NULL)),
    CHECK (carried_out_at IS NULL OR decision = 'approved'),
    CONSTRAINT two_people CHECK (
        decision IS DISTINCT FROM 'approved'
        OR (lower(trim(decided_by)) <> lower(trim(requested_by))
            AND split_part(decider, '@', 1) <> split_part(requester, '@', 1)))
);
CREATE UNIQUE INDEX operator_request_open ON pm.operator_request (intent_id) WHERE decision IS NULL;
CREATE INDEX operator_request_intent ON pm.operator_request (intent_id);

-- Dead letters that were taken away, with everything that stood in them.
CREATE TABLE pm.discarded_dead_letter (
    stream       text        NOT NULL,
    record_id    text        NOT NULL,
    intent_id    uuid,
    reason       text        NOT NULL,            -- why it had died
    record       text        NOT NULL,            -- sealed: context 'dlq:<stream>:<record id>', field 'record'
    discarded_by text        NOT NULL,
    why          text        NOT NULL,
    kept_at      timestamptz NOT NULL DEFAULT now(),
    removed_at   timestamptz,                     -- NULL: it was kept, and may stand in the stream all the same
    PRIMARY KEY (stream, record_id)
);
CREATE INDEX discarded_dead_letter_intent ON pm.discarded_dead_letter (intent_id) WHERE intent_id IS NOT NULL;
