-- Records decisions by compare-and-set: only rows still at the expected version change, and events, history and
-- balances join only those. Returns the intents that changed; whoever lost reads again and decides again.
WITH decided AS (
    SELECT * FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[])
        AS d (id, expected, version, state, funds, error_code, error_detail)
), changed AS (
    UPDATE pm.intent AS i
    SET state = d.state, version = d.version, funds = d.funds, error_code = d.error_code,
        error_detail = d.error_detail, updated_at = now()
    FROM decided AS d
    WHERE i.id = d.id AND i.version = d.expected AND i.id = ANY ($1::uuid[])
    RETURNING i.id
), recorded AS (
    INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state, detail)
    SELECT e.id, e.seq, e.from_state, e.to_state, e.detail::json
    FROM unnest($8::uuid[], $9::integer[], $10::text[], $11::text[], $12::text[])
        AS e (id, seq, from_state, to_state, detail)
    JOIN changed USING (id)
), leg AS (
    SELECT l.*
    FROM unnest($13::uuid[], $14::uuid[], $15::uuid[], $16::bigint[], $17::integer[], $18::timestamptz[])
        AS l (id, account_id, transfer_id, amount_minor, code, at)
    JOIN changed USING (id)
), history AS (
    INSERT INTO pm.tx_history (account_id, transfer_id, intent_id, amount_minor, code, at)
    SELECT account_id, transfer_id, id, amount_minor, code, at FROM leg
), balance AS (
    INSERT INTO pm.account_balance AS b (account_id, posted)
    SELECT account_id, sum(amount_minor) FROM leg GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE SET posted = b.posted + EXCLUDED.posted, updated_at = now()
)
SELECT id FROM changed
