-- TigerBeetle's state machine over tables, for development and tests where no TigerBeetle server runs.
--
-- One advisory lock puts all writes into one total order, as the real server does. A batch of events is judged in
-- memory, event by event, in TigerBeetle's order of precedence, and written with one statement per table. Statuses
-- are the client's names. Ids are uuid (the 128 bits, big-endian), 64-bit user data is bigint (two's complement),
-- amounts are numeric. Time-outs and imports do not exist here: the client side refuses them.
--
-- Retention: everything, for ever, as in TigerBeetle.

CREATE SCHEMA ledger;

-- Every event gets a later timestamp than every event before it, refused ones included.
CREATE TABLE ledger.clock (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    last_ns   bigint  NOT NULL
);
INSERT INTO ledger.clock (last_ns) VALUES (0);

CREATE TABLE ledger.account (
    id              uuid           PRIMARY KEY,
    debits_pending  numeric(39, 0) NOT NULL CHECK (debits_pending >= 0),
    debits_posted   numeric(39, 0) NOT NULL CHECK (debits_posted >= 0),
    credits_pending numeric(39, 0) NOT NULL CHECK (credits_pending >= 0),
    credits_posted  numeric(39, 0) NOT NULL CHECK (credits_posted >= 0),
    user_data_128   uuid           NOT NULL,
    user_data_64    bigint         NOT NULL,
    user_data_32    bigint         NOT NULL,
    ledger          bigint         NOT NULL,
    code            integer        NOT NULL,
    flags           integer        NOT NULL,
    "timestamp"     bigint         NOT NULL UNIQUE
) WITH (fillfactor = 50);

CREATE TABLE ledger.transfer (
    id                uuid           PRIMARY KEY,
    debit_account_id  uuid           NOT NULL,
    credit_account_id uuid           NOT NULL,
    amount            numeric(39, 0) NOT NULL,
    pending_id        uuid           NOT NULL,
    user_data_128     uuid           NOT NULL,
    user_data_64      bigint         NOT NULL,
    user_data_32      bigint         NOT NULL,
    ledger            bigint         NOT NULL,
    code              integer        NOT NULL,
    flags             integer        NOT NULL,
    "timestamp"       bigint         NOT NULL UNIQUE
);
CREATE INDEX ON ledger.transfer (debit_account_id, "timestamp");
CREATE INDEX ON ledger.transfer (credit_account_id, "timestamp");
CREATE INDEX ON ledger.transfer (user_data_128, "timestamp");

-- What became of a pending transfer; no row: it is still pending.
CREATE TABLE ledger.resolution (
    pending_id uuid PRIMARY KEY REFERENCES ledger.transfer,
    outcome    text NOT NULL CHECK (outcome IN ('POSTED', 'VOIDED'))
);

-- Ids that a refusal has spent.
CREATE TABLE ledger.burned (
    id uuid PRIMARY KEY
);

-- Enters the total order and takes the batch's timestamps; returns the one before its first event.
CREATE FUNCTION ledger.take_turn(events integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    base bigint;
BEGIN
    -- With an older snapshot this transaction would judge what others have changed meanwhile.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the ledger needs read committed transactions';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ledger'));
    UPDATE ledger.clock
    SET last_ns = greatest(last_ns, (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint) + events
    RETURNING last_ns - events INTO base;
    RETURN base;
END $$;

CREATE FUNCTION ledger.is_nil(id uuid) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT id = '00000000-0000-0000-0000-000000000000'
$$;
CREATE FUNCTION ledger.is_max(id uuid) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
$$;
CREATE FUNCTION ledger.amount_max() RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT 340282366920938463463374607431768211455::numeric
$$;

-- Account flags: 1 linked, 2 debits must not exceed credits, 4 the reverse, 8 history, 16 imported, 32 closed.

-- Compares an account that is to be opened with the one that has its id.
CREATE FUNCTION ledger.account_exists(a ledger.account, e ledger.account) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN a.flags <> e.flags THEN 'EXISTS_WITH_DIFFERENT_FLAGS'
        WHEN a.user_data_128 <> e.user_data_128 THEN 'EXISTS_WITH_DIFFERENT_USER_DATA_128'
        WHEN a.user_data_64 <> e.user_data_64 THEN 'EXISTS_WITH_DIFFERENT_USER_DATA_64'
        WHEN a.user_data_32 <> e.user_data_32 THEN 'EXISTS_WITH_DIFFERENT_USER_DATA_32'
        WHEN a.ledger <> e.ledger THEN 'EXISTS_WITH_DIFFERENT_LEDGER'
        WHEN a.code <> e.code THEN 'EXISTS_WITH_DIFFERENT_CODE'
        ELSE 'EXISTS'
    END
$$;

-- Judges one account; `e` is the one that has its id, if any.
CREATE FUNCTION ledger.judge_account(a ledger.account, e ledger.account) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN a.timestamp <> 0 THEN 'TIMESTAMP_MUST_BE_ZERO'
        WHEN a.flags > 63 THEN 'RESERVED_FLAG'
        WHEN ledger.is_nil(a.id) THEN 'ID_MUST_NOT_BE_ZERO'
        WHEN ledger.is_max(a.id) THEN 'ID_MUST_NOT_BE_INT_MAX'
        WHEN e.id IS NOT NULL THEN ledger.account_exists(a, e)
        WHEN a.flags & 6 = 6 THEN 'FLAGS_ARE_MUTUALLY_EXCLUSIVE'
        WHEN a.debits_pending <> 0 THEN 'DEBITS_PENDING_MUST_BE_ZERO'
        WHEN a.debits_posted <> 0 THEN 'DEBITS_POSTED_MUST_BE_ZERO'
        WHEN a.credits_pending <> 0 THEN 'CREDITS_PENDING_MUST_BE_ZERO'
        WHEN a.credits_posted <> 0 THEN 'CREDITS_POSTED_MUST_BE_ZERO'
        WHEN a.ledger = 0 THEN 'LEDGER_MUST_NOT_BE_ZERO'
        WHEN a.code = 0 THEN 'CODE_MUST_NOT_BE_ZERO'
        ELSE 'CREATED'
    END
$$;

CREATE FUNCTION ledger.create_accounts(
    ids uuid[], debits_pendings numeric[], debits_posteds numeric[], credits_pendings numeric[],
    credits_posteds numeric[], user_data_128s uuid[], user_data_64s bigint[], user_data_32s bigint[],
    ledgers bigint[], codes integer[], flagses integer[], given_timestamps bigint[],
    OUT statuses text[], OUT timestamps bigint[]
) LANGUAGE plpgsql
-- Everything is looked up by key. A plan made while the tables were empty must not go on to scan them when they are full.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    n       integer := cardinality(ids);
    base    bigint := ledger.take_turn(n);
    own     integer[];           -- by event: the slot of its id
    known   ledger.account[];    -- by slot: the account that has the id
    made    integer[] := '{}';   -- slots of the accounts opened by this batch
    chain   integer;             -- where the open chain began
    mark    integer;             -- how many accounts had been opened before it
    broken  boolean := false;
    a       ledger.account;
    linked  boolean;
    status  text;
BEGIN
    SELECT array_agg(slot ORDER BY place) INTO own
    FROM (SELECT place, dense_rank() OVER (ORDER BY id) AS slot
          FROM unnest(ids) WITH ORDINALITY AS given(id, place)) AS numbered;

    SELECT array_agg(k ORDER BY given.id) INTO known
    FROM (SELECT DISTINCT id FROM unnest(ids) AS u(id)) AS given
    LEFT JOIN ledger.account k ON k.id = given.id;

    FOR i IN 1 .. n LOOP
        a := ROW(ids[i], debits_pendings[i], debits_posteds[i], credits_pendings[i], credits_posteds[i],
                 user_data_128s[i], user_data_64s[i], user_data_32s[i], ledgers[i], codes[i], flagses[i],
                 given_timestamps[i]);
        linked := a.flags & 1 <> 0;
        IF linked AND chain IS NULL THEN
            chain := i;
            mark := cardinality(made);
        END IF;
        status := CASE
            WHEN linked AND i = n THEN 'LINKED_EVENT_CHAIN_OPEN'
            WHEN broken THEN 'LINKED_EVENT_FAILED'
            ELSE ledger.judge_account(a, known[own[i]])
        END;
        statuses[i] := status;
        timestamps[i] := CASE status WHEN 'EXISTS' THEN (known[own[i]]).timestamp ELSE base + i END;
        IF status = 'CREATED' THEN
            a.timestamp := base + i;
            known[own[i]] := a;
            made := made || own[i];
        ELSIF chain IS NOT NULL AND NOT broken THEN
            broken := true;
            FOR j IN chain .. i - 1 LOOP
                statuses[j] := 'LINKED_EVENT_FAILED';
            END LOOP;
            FOR j IN mark + 1 .. cardinality(made) LOOP
                known[made[j]] := NULL;
            END LOOP;
            made := made[1:mark];
        END IF;
        IF NOT linked OR status = 'LINKED_EVENT_CHAIN_OPEN' THEN
            chain := NULL;
            broken := false;
        END IF;
    END LOOP;

    INSERT INTO ledger.account SELECT * FROM unnest(ARRAY(SELECT known[slot] FROM unnest(made) AS slot));
END $$;

-- Transfer flags: 1 linked, 2 pending, 4 post, 8 void, 16 balancing debit, 32 balancing credit, 64 closing debit,
-- 128 closing credit, 256 imported.

-- What a post or void moves: 0 in a void and the largest amount in a post mean all of it.
CREATE FUNCTION ledger.resolved(t ledger.transfer, p ledger.transfer) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN t.flags & 8 <> 0 AND t.amount = 0 THEN p.amount
        WHEN t.flags & 4 <> 0 AND t.amount = ledger.amount_max() THEN p.amount
        ELSE t.amount
    END
$$;

-- What a post or void leaves out it takes from the pending transfer.
CREATE FUNCTION ledger.inherit(t ledger.transfer, p ledger.transfer)
RETURNS ledger.transfer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF ledger.is_nil(t.debit_account_id) THEN t.debit_account_id := p.debit_account_id; END IF;
    IF ledger.is_nil(t.credit_account_id) THEN t.credit_account_id := p.credit_account_id; END IF;
    IF ledger.is_nil(t.user_data_128) THEN t.user_data_128 := p.user_data_128; END IF;
    IF t.user_data_64 = 0 THEN t.user_data_64 := p.user_data_64; END IF;
    IF t.user_data_32 = 0 THEN t.user_data_32 := p.user_data_32; END IF;
    IF t.ledger = 0 THEN t.ledger := p.ledger; END IF;
    IF t.code = 0 THEN t.code := p.code; END IF;
    RETURN t;
END $$;

-- Compares a transfer with `e`, which has its id; `p` is the pending one that t names, if it names one.
CREATE FUNCTION ledger.transfer_exists(t ledger.transfer, e ledger.transfer, p ledger.transfer)
RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF t.flags <> e.flags THEN RETURN 'EXISTS_WITH_DIFFERENT_FLAGS'; END IF;
    IF t.pending_id <> e.pending_id THEN RETURN 'EXISTS_WITH_DIFFERENT_PENDING_ID'; END IF;
    IF t.flags & 12 <> 0 THEN
        t.amount := ledger.resolved(t, p);
        t := ledger.inherit(t, p);
    ELSIF t.flags & 48 <> 0 AND t.amount > e.amount THEN
        -- A balancing transfer names the most it may move; what it did move may be less.
        t.amount := e.amount;
    END IF;
    RETURN CASE
        WHEN t.debit_account_id <> e.debit_account_id THEN 'EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID'
        WHEN t.credit_account_id <> e.credit_account_id THEN 'EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID'
        WHEN t.amount <> e.amount THEN 'EXISTS_WITH_DIFFERENT_AMOUNT'
        WHEN t.user_data_128 <> e.user_data_128 THEN 'EXISTS_WITH_DIFFERENT_USER_DATA_128'
        WHEN t.user_data_64 <> e.user_data_64 THEN 'EXISTS_WITH_DIFFERENT_USER_DATA_64'
        WHEN t.user_data_32 <> e.user_data_32 THEN 'EXISTS_WITH_DIFFERENT_USER_DATA_32'
        WHEN t.ledger <> e.ledger THEN 'EXISTS_WITH_DIFFERENT_LEDGER'
        WHEN t.code <> e.code THEN 'EXISTS_WITH_DIFFERENT_CODE'
        ELSE 'EXISTS'
    END;
END $$;

-- What a plain or pending transfer moves: a balancing one no more than brings its accounts level.
CREATE FUNCTION ledger.moved(t ledger.transfer, dr ledger.account, cr ledger.account)
RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT least(
        t.amount,
        CASE WHEN t.flags & 16 <> 0 THEN greatest(0, dr.credits_posted - dr.debits_posted - dr.debits_pending) END,
        CASE WHEN t.flags & 32 <> 0 THEN greatest(0, cr.debits_posted - cr.credits_posted - cr.credits_pending) END
    )
$$;

-- Judges a plain or pending transfer of `amount`.
CREATE FUNCTION ledger.judge_move(t ledger.transfer, amount numeric, dr ledger.account, cr ledger.account)
RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    most numeric := ledger.amount_max();
BEGIN
    RETURN CASE
        WHEN ledger.is_nil(t.debit_account_id) THEN 'DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO'
        WHEN ledger.is_max(t.debit_account_id) THEN 'DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX'
        WHEN ledger.is_nil(t.credit_account_id) THEN 'CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO'
        WHEN ledger.is_max(t.credit_account_id) THEN 'CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX'
        WHEN t.credit_account_id = t.debit_account_id THEN 'ACCOUNTS_MUST_BE_DIFFERENT'
        WHEN NOT ledger.is_nil(t.pending_id) THEN 'PENDING_ID_MUST_BE_ZERO'
        WHEN t.flags & 2 = 0 AND t.flags & 192 <> 0 THEN 'CLOSING_TRANSFER_MUST_BE_PENDING'
        WHEN t.ledger = 0 THEN 'LEDGER_MUST_NOT_BE_ZERO'
        WHEN t.code = 0 THEN 'CODE_MUST_NOT_BE_ZERO'
        WHEN dr.id IS NULL THEN 'DEBIT_ACCOUNT_NOT_FOUND'
        WHEN cr.id IS NULL THEN 'CREDIT_ACCOUNT_NOT_FOUND'
        WHEN dr.ledger <> cr.ledger THEN 'ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER'
        WHEN t.ledger <> dr.ledger THEN 'TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS'
        WHEN dr.flags & 32 <> 0 THEN 'DEBIT_ACCOUNT_ALREADY_CLOSED'
        WHEN cr.flags & 32 <> 0 THEN 'CREDIT_ACCOUNT_ALREADY_CLOSED'
        WHEN t.flags & 2 <> 0 AND amount + dr.debits_pending > most THEN 'OVERFLOWS_DEBITS_PENDING'
        WHEN t.flags & 2 <> 0 AND amount + cr.credits_pending > most THEN 'OVERFLOWS_CREDITS_PENDING'
        WHEN amount + dr.debits_posted > most THEN 'OVERFLOWS_DEBITS_POSTED'
        WHEN amount + cr.credits_posted > most THEN 'OVERFLOWS_CREDITS_POSTED'
        WHEN amount + dr.debits_pending + dr.debits_posted > most THEN 'OVERFLOWS_DEBITS'
        WHEN amount + cr.credits_pending + cr.credits_posted > most THEN 'OVERFLOWS_CREDITS'
        WHEN dr.flags & 2 <> 0 AND dr.debits_pending + dr.debits_posted + amount > dr.credits_posted
            THEN 'EXCEEDS_CREDITS'
        WHEN cr.flags & 4 <> 0 AND cr.credits_pending + cr.credits_posted + amount > cr.debits_posted
            THEN 'EXCEEDS_DEBITS'
        ELSE 'CREATED'
    END;
END $$;

-- Judges a post or void of `amount`; `p` is the pending transfer, `outcome` what has become of it.
CREATE FUNCTION ledger.judge_resolution(
    t ledger.transfer, amount numeric, p ledger.transfer, outcome text, dr ledger.account, cr ledger.account
) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CASE
        WHEN t.flags & 12 = 12 OR t.flags & 242 <> 0 THEN 'FLAGS_ARE_MUTUALLY_EXCLUSIVE'
        WHEN ledger.is_nil(t.pending_id) THEN 'PENDING_ID_MUST_NOT_BE_ZERO'
        WHEN ledger.is_max(t.pending_id) THEN 'PENDING_ID_MUST_NOT_BE_INT_MAX'
        WHEN t.pending_id = t.id THEN 'PENDING_ID_MUST_BE_DIFFERENT'
        WHEN p.id IS NULL THEN 'PENDING_TRANSFER_NOT_FOUND'
        WHEN p.flags & 2 = 0 THEN 'PENDING_TRANSFER_NOT_PENDING'
        WHEN NOT ledger.is_nil(t.debit_account_id) AND t.debit_account_id <> p.debit_account_id
            THEN 'PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID'
        WHEN NOT ledger.is_nil(t.credit_account_id) AND t.credit_account_id <> p.credit_account_id
            THEN 'PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID'
        WHEN t.ledger <> 0 AND t.ledger <> p.ledger THEN 'PENDING_TRANSFER_HAS_DIFFERENT_LEDGER'
        WHEN t.code <> 0 AND t.code <> p.code THEN 'PENDING_TRANSFER_HAS_DIFFERENT_CODE'
        WHEN amount > p.amount THEN 'EXCEEDS_PENDING_TRANSFER_AMOUNT'
        WHEN t.flags & 8 <> 0 AND amount < p.amount THEN 'PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT'
        WHEN outcome = 'POSTED' THEN 'PENDING_TRANSFER_ALREADY_POSTED'
        WHEN outcome = 'VOIDED' THEN 'PENDING_TRANSFER_ALREADY_VOIDED'
        -- A closed account still takes its holds back, and nothing else.
        WHEN t.flags & 8 = 0 AND dr.flags & 32 <> 0 THEN 'DEBIT_ACCOUNT_ALREADY_CLOSED'
        WHEN t.flags & 8 = 0 AND cr.flags & 32 <> 0 THEN 'CREDIT_ACCOUNT_ALREADY_CLOSED'
        ELSE 'CREATED'
    END;
END $$;

CREATE FUNCTION ledger.create_transfers(
    ids uuid[], debit_account_ids uuid[], credit_account_ids uuid[], amounts numeric[], pending_ids uuid[],
    user_data_128s uuid[], user_data_64s bigint[], user_data_32s bigint[], ledgers bigint[], codes integer[],
    flagses integer[], given_timestamps bigint[],
    OUT statuses text[], OUT timestamps bigint[]
) LANGUAGE plpgsql
-- Everything is looked up by key. A plan made while the tables were empty must not go on to scan them when they are full.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    burns CONSTANT text[] := ARRAY[
        'DEBIT_ACCOUNT_NOT_FOUND', 'CREDIT_ACCOUNT_NOT_FOUND', 'PENDING_TRANSFER_NOT_FOUND', 'EXCEEDS_CREDITS',
        'EXCEEDS_DEBITS', 'DEBIT_ACCOUNT_ALREADY_CLOSED', 'CREDIT_ACCOUNT_ALREADY_CLOSED'];
    n             integer := cardinality(ids);
    base          bigint := ledger.take_turn(n);
    -- Slots: every transfer id that the batch names, as its own or as a pending one, and every account id behind
    -- them has a number. By event: its slots.
    own           integer[];
    pending       integer[];
    debit         integer[];
    credit        integer[];
    -- By transfer slot: the transfer, its accounts' slots, what became of it, whether its id is spent.
    known         ledger.transfer[];
    known_debit   integer[];
    known_credit  integer[];
    outcome       text[];
    burned        boolean[];
    -- By account slot.
    accounts      ledger.account[];
    -- What the batch has done, in order: transfer slots, and the ids it has spent.
    made          integer[] := '{}';
    resolved      integer[] := '{}';
    spent         uuid[] := '{}';
    -- The open chain: where it began in each of these, and how the accounts stood that it has changed.
    chain         integer;
    broken        boolean := false;
    made_mark     integer;
    resolved_mark integer;
    undo_slots    integer[];
    undo          ledger.account[];
    -- The event at hand.
    t             ledger.transfer;
    p             ledger.transfer;
    dr            ledger.account;
    cr            ledger.account;
    dr_slot       integer;
    cr_slot       integer;
    linked        boolean;
    amount        numeric;
    status        text;
BEGIN
    SELECT array_agg(slot ORDER BY place) FILTER (WHERE place <= n),
           array_agg(slot ORDER BY place) FILTER (WHERE place > n)
    INTO own, pending
    FROM (SELECT place, dense_rank() OVER (ORDER BY id) AS slot
          FROM unnest(ids || pending_ids) WITH ORDINALITY AS named(id, place)) AS numbered;

    SELECT array_agg(k ORDER BY named.id), array_agg(r.outcome ORDER BY named.id),
           array_agg(b.id IS NOT NULL ORDER BY named.id)
    INTO known, outcome, burned
    FROM (SELECT DISTINCT id FROM unnest(ids || pending_ids) AS given(id)) AS named
    LEFT JOIN ledger.transfer k ON k.id = named.id
    LEFT JOIN ledger.resolution r ON r.pending_id = named.id
    LEFT JOIN ledger.burned b ON b.id = named.id;

    SELECT array_agg(slot ORDER BY place) FILTER (WHERE kind = 1),
           array_agg(slot ORDER BY place) FILTER (WHERE kind = 2),
           array_agg(slot ORDER BY place) FILTER (WHERE kind = 3),
           array_agg(slot ORDER BY place) FILTER (WHERE kind = 4),
           array_agg(a ORDER BY slot) FILTER (WHERE first)
    INTO debit, credit, known_debit, known_credit, accounts
    FROM (SELECT kind, place, id, dense_rank() OVER (ORDER BY id) AS slot,
                 row_number() OVER (PARTITION BY id) = 1 AS first
          FROM (SELECT 1 AS kind, place, id FROM unnest(debit_account_ids) WITH ORDINALITY AS u(id, place)
                UNION ALL
                SELECT 2, place, id FROM unnest(credit_account_ids) WITH ORDINALITY AS u(id, place)
                UNION ALL
                SELECT 3, slot, (known[slot]).debit_account_id FROM generate_subscripts(known, 1) AS slot
                UNION ALL
                SELECT 4, slot, (known[slot]).credit_account_id FROM generate_subscripts(known, 1) AS slot
               ) AS named
         ) AS numbered
    LEFT JOIN ledger.account a ON first AND a.id = numbered.id;

    FOR i IN 1 .. n LOOP
        t := ROW(ids[i], debit_account_ids[i], credit_account_ids[i], amounts[i], pending_ids[i], user_data_128s[i],
                 user_data_64s[i], user_data_32s[i], ledgers[i], codes[i], flagses[i], given_timestamps[i]);
        p := NULL;
        linked := t.flags & 1 <> 0;
        timestamps[i] := base + i;
        IF linked AND chain IS NULL THEN
            chain := i;
            made_mark := cardinality(made);
            resolved_mark := cardinality(resolved);
            undo_slots := '{}';
            undo := '{}';
        END IF;

        IF linked AND i = n THEN
            status := 'LINKED_EVENT_CHAIN_OPEN';
        ELSIF broken THEN
            status := 'LINKED_EVENT_FAILED';
        ELSIF t.timestamp <> 0 THEN
            status := 'TIMESTAMP_MUST_BE_ZERO';
        ELSIF t.flags > 511 THEN
            status := 'RESERVED_FLAG';
        ELSIF ledger.is_nil(t.id) THEN
            status := 'ID_MUST_NOT_BE_ZERO';
        ELSIF ledger.is_max(t.id) THEN
            status := 'ID_MUST_NOT_BE_INT_MAX';
        ELSIF known[own[i]] IS NOT NULL THEN
            status := ledger.transfer_exists(t, known[own[i]], known[pending[i]]);
            IF status = 'EXISTS' THEN
                timestamps[i] := (known[own[i]]).timestamp;
            END IF;
        ELSIF burned[own[i]] THEN
            status := 'ID_ALREADY_FAILED';
        ELSIF t.flags & 12 <> 0 THEN
            p := known[pending[i]];
            dr_slot := known_debit[pending[i]];
            cr_slot := known_credit[pending[i]];
            dr := accounts[dr_slot];
            cr := accounts[cr_slot];
            amount := ledger.resolved(t, p);
            status := ledger.judge_resolution(t, amount, p, outcome[pending[i]], dr, cr);
        ELSE
            dr_slot := debit[i];
            cr_slot := credit[i];
            dr := accounts[dr_slot];
            cr := accounts[cr_slot];
            amount := CASE WHEN t.flags & 48 <> 0 THEN ledger.moved(t, dr, cr) ELSE t.amount END;
            status := ledger.judge_move(t, amount, dr, cr);
        END IF;
        statuses[i] := status;

        IF status = 'CREATED' THEN
            -- From here on nothing can be refused.
            IF chain IS NOT NULL THEN
                undo_slots := undo_slots || dr_slot;
                undo := undo || dr;
                undo_slots := undo_slots || cr_slot;
                undo := undo || cr;
            END IF;
            t.amount := amount;
            t.timestamp := base + i;
            IF p.id IS NOT NULL THEN
                t := ledger.inherit(t, p);
                dr.debits_pending := dr.debits_pending - p.amount;
                cr.credits_pending := cr.credits_pending - p.amount;
                IF t.flags & 4 <> 0 THEN
                    dr.debits_posted := dr.debits_posted + amount;
                    cr.credits_posted := cr.credits_posted + amount;
                ELSIF p.flags & 192 <> 0 THEN
                    -- Voiding what closed an account opens it again.
                    dr.flags := CASE WHEN p.flags & 64 <> 0 THEN dr.flags & ~32 ELSE dr.flags END;
                    cr.flags := CASE WHEN p.flags & 128 <> 0 THEN cr.flags & ~32 ELSE cr.flags END;
                END IF;
                outcome[pending[i]] := CASE WHEN t.flags & 4 <> 0 THEN 'POSTED' ELSE 'VOIDED' END;
                resolved := resolved || pending[i];
            ELSIF t.flags & 2 <> 0 THEN
                dr.debits_pending := dr.debits_pending + amount;
                cr.credits_pending := cr.credits_pending + amount;
                IF t.flags & 192 <> 0 THEN
                    dr.flags := CASE WHEN t.flags & 64 <> 0 THEN dr.flags | 32 ELSE dr.flags END;
                    cr.flags := CASE WHEN t.flags & 128 <> 0 THEN cr.flags | 32 ELSE cr.flags END;
                END IF;
            ELSE
                dr.debits_posted := dr.debits_posted + amount;
                cr.credits_posted := cr.credits_posted + amount;
            END IF;
            accounts[dr_slot] := dr;
            accounts[cr_slot] := cr;
            known[own[i]] := t;
            known_debit[own[i]] := dr_slot;
            known_credit[own[i]] := cr_slot;
            made := made || own[i];
        ELSE
            IF status = ANY (burns) THEN
                -- Spent for ever, even where the chain around it is taken back.
                burned[own[i]] := true;
                spent := spent || t.id;
            END IF;
            IF chain IS NOT NULL AND NOT broken THEN
                broken := true;
                FOR j IN chain .. i - 1 LOOP
                    statuses[j] := 'LINKED_EVENT_FAILED';
                END LOOP;
                FOR j IN REVERSE cardinality(undo_slots) .. 1 LOOP
                    accounts[undo_slots[j]] := undo[j];
                END LOOP;
                FOR j IN made_mark + 1 .. cardinality(made) LOOP
                    known[made[j]] := NULL;
                END LOOP;
                FOR j IN resolved_mark + 1 .. cardinality(resolved) LOOP
                    outcome[resolved[j]] := NULL;
                END LOOP;
                made := made[1:made_mark];
                resolved := resolved[1:resolved_mark];
            END IF;
        END IF;
        IF NOT linked OR status = 'LINKED_EVENT_CHAIN_OPEN' THEN
            chain := NULL;
            broken := false;
        END IF;
    END LOOP;

    INSERT INTO ledger.transfer SELECT * FROM unnest(ARRAY(SELECT known[slot] FROM unnest(made) AS slot));
    INSERT INTO ledger.resolution SELECT (known[slot]).id, outcome[slot] FROM unnest(resolved) AS slot;
    INSERT INTO ledger.burned SELECT unnest(spent);
    UPDATE ledger.account a
    SET debits_pending = x.debits_pending, debits_posted = x.debits_posted,
        credits_pending = x.credits_pending, credits_posted = x.credits_posted, flags = x.flags
    FROM unnest(accounts) AS x
    WHERE a.id = x.id
      AND (a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted, a.flags)
          <> (x.debits_pending, x.debits_posted, x.credits_pending, x.credits_posted, x.flags);
END $$;

-- Look-ups answer in the order asked for, twice where asked twice, and leave out what is missing.
CREATE FUNCTION ledger.lookup_accounts(ids uuid[]) RETURNS SETOF ledger.account LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    SELECT a.* FROM unnest(ids) WITH ORDINALITY AS asked(id, place) JOIN ledger.account a ON a.id = asked.id
    ORDER BY place
$$;

CREATE FUNCTION ledger.lookup_transfers(ids uuid[]) RETURNS SETOF ledger.transfer LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    SELECT t.* FROM unnest(ids) WITH ORDINALITY AS asked(id, place) JOIN ledger.transfer t ON t.id = asked.id
    ORDER BY place
$$;
