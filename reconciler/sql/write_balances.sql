-- Writes balances as they should be; the caller holds the locks of these rows.
UPDATE pm.account_balance AS b SET posted = w.posted, held = w.held, updated_at = now()
FROM unnest($1::uuid[], $2::numeric[], $3::numeric[]) AS w (account_id, posted, held)
WHERE b.account_id = w.account_id
