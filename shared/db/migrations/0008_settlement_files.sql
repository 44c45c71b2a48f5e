-- Settlement files: what providers say they moved, line by line, and what became of each line.
--
-- Retention: files and refused lines are kept for ever, as the audit log is (a few rows a day); lines are pruned beyond
-- the reconciliation window, but none that is still looked at.

-- How the provider's files are laid out, as its adapter declares it; NULL where it sends none.
ALTER TABLE pm.psp ADD COLUMN settlement json;

-- A file is its provider, its name and its content. How far it has been read is written with what was read of it.
CREATE TABLE pm.settlement_file (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    psp         text        NOT NULL,
    name        text        NOT NULL CHECK (name ~ '^[A-Za-z0-9._-]{1,128}$'),
    sha256      text        NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    bytes       bigint      NOT NULL,
    state       text        NOT NULL DEFAULT 'READING' CHECK (state IN ('READING', 'DONE', 'REFUSED')),
    reason      text,                              -- why it was refused
    read_bytes  bigint      NOT NULL DEFAULT 0,    -- where reading goes on: always the beginning of a line
    read_lines  bigint      NOT NULL DEFAULT 0,
    counted     bigint      NOT NULL DEFAULT 0,    -- lines about payments, refused ones included
    taken       bigint      NOT NULL DEFAULT 0,    -- lines that were new
    refused     bigint      NOT NULL DEFAULT 0,
    total_minor numeric(38, 0) NOT NULL DEFAULT 0, -- what the amounts of its lines add up to
    trailers    json        NOT NULL DEFAULT '[]', -- what its trailer says: lines and total, a pair each
    found_at    timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (psp, name, sha256),
    CHECK ((state = 'READING') = (finished_at IS NULL))
);
CREATE INDEX settlement_file_reading ON pm.settlement_file (id) WHERE state = 'READING';

-- A line about a payment: only what the layout names, nothing personal. The same payment with the same word is one line,
-- in however many files it stands.
CREATE TABLE pm.settlement_line (
    file_id            bigint      NOT NULL,
    line               bigint      NOT NULL,
    psp                text        NOT NULL,
    line_key           text        NOT NULL,
    reference          text,
    psp_transaction_id text,
    batch              text,
    means              text        NOT NULL CHECK (means IN ('paid', 'failed', 'reversed', 'nothing')),
    amount_minor       bigint      NOT NULL CHECK (amount_minor BETWEEN 1 AND 4611686018427387904),
    currency           text        NOT NULL,
    fee_minor          bigint,
    at                 timestamptz,
    intent_id          uuid,
    matched_by         text        CHECK (matched_by IN ('reference', 'transaction', 'psp_id', 'batch', 'amount_time')),
    verdict            text        NOT NULL CHECK (verdict IN ('agrees', 'part', 'new', 'waits', 'says', 'breaks')),
    said_at            timestamptz,                -- when the results stream had the word that it speaks
    looked_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (file_id, line)
);
CREATE UNIQUE INDEX settlement_line_once ON pm.settlement_line (psp, line_key);
-- Few lines are not simply agreed with: what is still looked at, by age, and what else was said of an intent.
CREATE INDEX settlement_line_open ON pm.settlement_line (psp, looked_at)
    WHERE verdict IN ('new', 'waits', 'says', 'breaks');
CREATE INDEX settlement_line_intent ON pm.settlement_line (intent_id)
    WHERE verdict <> 'agrees' AND intent_id IS NOT NULL;
CREATE INDEX settlement_line_batch ON pm.settlement_line (psp, batch) WHERE batch IS NOT NULL;

-- Lines that make no sense: their numbers and why, never what stood in them.
CREATE TABLE pm.settlement_refusal (
    file_id bigint NOT NULL,
    line    bigint NOT NULL,
    reason  text   NOT NULL,
    PRIMARY KEY (file_id, line)
);

-- Payments in the order they became known: which of them should have stood in a file by now.
CREATE INDEX psp_tx_map_created ON pm.psp_tx_map USING brin (created_at);
