-- The breaks that were open at $1, by how long they had been.
WITH candidate AS (
    SELECT * FROM pm.reconciliation_break WHERE first_at < $1 AND (closed_at IS NULL OR closed_at >= $1)
), stood AS (
    SELECT c.kind, c.severity, c.psp, c.currency, c.delta_minor, e.to_state, $1 - e.at AS age
    FROM candidate AS c
    CROSS JOIN LATERAL (
        SELECT to_state, at FROM pm.reconciliation_break_event
        WHERE break_id = c.id AND at < $1 ORDER BY seq DESC LIMIT 1
    ) AS e
), aged AS (
    SELECT kind, severity, psp, currency, delta_minor,
           CASE WHEN age < interval '1 day' THEN 0 WHEN age < interval '3 days' THEN 1
                WHEN age < interval '7 days' THEN 3 WHEN age < interval '30 days' THEN 7 ELSE 30 END AS age_days_min
    FROM stood WHERE to_state = 'OPEN'
)
SELECT severity, kind, psp, currency, age_days_min, count(*) AS breaks, sum(abs(delta_minor)) AS delta_minor
FROM aged
GROUP BY severity, kind, psp, currency, age_days_min
ORDER BY severity, kind, psp NULLS FIRST, currency NULLS FIRST, age_days_min
