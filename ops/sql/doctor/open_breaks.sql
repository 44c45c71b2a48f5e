-- The kinds of which breaks are open, each with how many, since when, and the oldest as an example.
SELECT kind, severity, count(*) AS open, min(first_at) AS since, (array_agg(subject ORDER BY first_at, id))[1] AS example
FROM pm.reconciliation_break
WHERE state = 'OPEN'
GROUP BY kind, severity
ORDER BY kind
