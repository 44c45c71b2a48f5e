-- Keeps the payments that a PSP has named; each belongs to the intent that named it first. Rows arrive sorted by name.
INSERT INTO pm.psp_tx_map (psp, psp_transaction_id, intent_id, attempt, settles, amount_minor, currency)
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::smallint[], $5::boolean[], $6::bigint[], $7::text[])
ON CONFLICT DO NOTHING
RETURNING psp_transaction_id
