-- Reconciliation: what was found to differ, what became of each difference, and how far every walk has come.
--
-- Retention: breaks and their history are kept for ever, as the audit log is; cursors are a handful of rows; a suspect
-- goes as soon as it has been looked at again.

-- A difference between two of ledger, database and provider. A row is one occurrence: what is seen again while it is
-- open, or seen unchanged after somebody has explained it or written it off, only counts up `seen`.
CREATE TABLE pm.reconciliation_break (
    id          bigint         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text           NOT NULL,
    severity    text           NOT NULL CHECK (severity IN ('warning', 'critical', 'emergency')),
    subject     text           NOT NULL,                -- what differs: an intent, an account, a line of a file
    psp         text,
    intent_id   uuid,
    sides       jsonb          NOT NULL DEFAULT '{}',   -- what each side says, by its name
    delta_minor numeric(38, 0),                         -- by how much money they differ, where that is a number
    currency    text,
    state       text           NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'EXPLAINED', 'RESOLVED', 'WRITTEN_OFF')),
    evidence    jsonb          NOT NULL DEFAULT '{}',   -- where it was seen
    seen        integer        NOT NULL DEFAULT 1,
    first_at    timestamptz    NOT NULL DEFAULT now(),
    last_at     timestamptz    NOT NULL DEFAULT now(),
    closed_at   timestamptz,
    CHECK ((state = 'OPEN') = (closed_at IS NULL)),
    CHECK (delta_minor IS NULL OR currency IS NOT NULL)
);
CREATE UNIQUE INDEX reconciliation_break_open ON pm.reconciliation_break (kind, subject) WHERE state = 'OPEN';
CREATE INDEX reconciliation_break_subject ON pm.reconciliation_break (kind, subject, id);
CREATE INDEX reconciliation_break_intent ON pm.reconciliation_break (intent_id) WHERE intent_id IS NOT NULL;

-- Everything that happened to a break, in order: opened, closed, opened again; by whom, why, and upon what evidence.
CREATE TABLE pm.reconciliation_break_event (
    break_id   bigint      NOT NULL,
    seq        integer     NOT NULL CHECK (seq > 0),
    from_state text,                                    -- NULL: found for the first time
    to_state   text        NOT NULL CHECK (to_state IN ('OPEN', 'EXPLAINED', 'RESOLVED', 'WRITTEN_OFF')),
    actor      text        NOT NULL,
    reason     text,
    evidence   jsonb       NOT NULL DEFAULT '{}',
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (break_id, seq)
);

-- What one person asks for and another approves: that the house bears a difference.
CREATE TABLE pm.reconciliation_request (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    break_id        bigint      NOT NULL,
    evidence        text        NOT NULL,
    reason          text        NOT NULL,
    requested_by    text        NOT NULL,      -- the name that was given
    requester       text        NOT NULL,      -- who sat at the terminal, as the operating system says
    requested_at    timestamptz NOT NULL DEFAULT now(),
    decision        text        CHECK (decision IN ('approved', 'declined')),
    decided_by      text,
    decider         text,
    decision_reason text,
    decided_at      timestamptz,
    CHECK ((decision IS NULL) = (decided_by IS NULL)),
    CHECK ((decision IS NULL) = (decider IS NULL)),
    CHECK ((decision IS NULL) = (decided_at IS NULL)),
    CONSTRAINT two_people CHECK (
        decision IS DISTINCT FROM 'approved'
        OR (lower(trim(decided_by)) <> lower(trim(requested_by))
            AND split_part(decider, '@', 1) <> split_part(requester, '@', 1)))
);
CREATE UNIQUE INDEX reconciliation_request_open ON pm.reconciliation_request (break_id) WHERE decision IS NULL;

-- How far a walk has come; what is behind a cursor has been compared, or stands among the suspects.
CREATE TABLE pm.reconciliation_cursor (
    name       text        PRIMARY KEY,
    position   jsonb       NOT NULL,
    walked     bigint      NOT NULL DEFAULT 0,          -- how many things it has passed, in all
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- What differed at the first look, on a mesh at work: it is looked at again before it becomes a break.
CREATE TABLE pm.reconciliation_suspect (
    what     text        NOT NULL CHECK (what IN ('intent', 'wallet', 'account', 'opened', 'history')),
    key      text        NOT NULL,
    first_at timestamptz NOT NULL DEFAULT now(),
    due_at   timestamptz NOT NULL,
    PRIMARY KEY (what, key)
);
CREATE INDEX reconciliation_suspect_due ON pm.reconciliation_suspect (due_at);

-- The transitions by time: how the log is walked for what is new. Rows of one batch share a time, so that it is small.
CREATE INDEX intent_event_at ON pm.intent_event (at);
