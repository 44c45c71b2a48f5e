-- The rows of the second transaction: the outcome, two events, both legs' history, balances. Balances are locked in
-- order, since batches that share wallets deadlock otherwise.
WITH leg AS (
    SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::integer[])
        AS l (id, account_id, transfer_id, amount_minor, code)
), recorded AS (
    INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state)
    SELECT d.id, e.seq, e.from_state, e.to_state
    FROM unnest($1::uuid[]) AS d (id)
    CROSS JOIN (VALUES (2, 'VALIDATED', 'AUTHORIZED'), (3, 'AUTHORIZED', 'SETTLED')) AS e (seq, from_state, to_state)
), history AS (
    INSERT INTO pm.tx_history (account_id, transfer_id, intent_id, amount_minor, code, at)
    SELECT account_id, transfer_id, id, amount_minor, code, $7::timestamptz FROM leg
), balance AS (
    INSERT INTO pm.account_balance AS b (account_id, posted)
    SELECT account_id, sum(amount_minor) FROM leg GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE SET posted = b.posted + EXCLUDED.posted, updated_at = now()
)
UPDATE pm.intent SET state = 'SETTLED', version = 3, funds = 'moved', updated_at = now() WHERE id = ANY ($1::uuid[])
