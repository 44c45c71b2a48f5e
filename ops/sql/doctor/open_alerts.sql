-- The critical alerts that nobody has closed, by kind: how many, and the oldest subject.
SELECT kind, count(*) AS open, min(first_at) AS since, (array_agg(subject ORDER BY id))[1] AS example
FROM pm.reconciliation_alert
WHERE closed_at IS NULL AND severity = 'critical'
GROUP BY kind
ORDER BY kind
