-- The closed days, the oldest first, that have no report in format $1; at most $2 of them.
SELECT d.day FROM pm.business_day AS d
WHERE d.closed_at IS NOT NULL
  AND NOT EXISTS (SELECT FROM pm.report AS r WHERE r.kind = 'day' AND r.period = to_char(d.day, 'YYYY-MM-DD') AND r.format = $1)
ORDER BY d.day LIMIT $2
