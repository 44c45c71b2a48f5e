-- Closes an alert unless it is closed; whoever sees its subject again opens it.
UPDATE pm.reconciliation_alert SET closed_at = now()
WHERE id = $1 AND closed_at IS NULL
RETURNING id
