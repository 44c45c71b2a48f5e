-- Writes rows of the history as they should be; they arrive sorted by their key.
INSERT INTO pm.tx_history (account_id, transfer_id, intent_id, amount_minor, code, at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::integer[], $6::timestamptz[])
ON CONFLICT (account_id, transfer_id) DO UPDATE
SET intent_id = EXCLUDED.intent_id, amount_minor = EXCLUDED.amount_minor, code = EXCLUDED.code, at = EXCLUDED.at
