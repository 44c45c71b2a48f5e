-- The days from $1 to $2, with how far the ledger has been walked.
SELECT d.day, d.time_zone, d.starts_ns, d.ends_ns, d.closed_at, d.standing, g.walked_ns
FROM pm.business_day AS d
CROSS JOIN pm.ledger_digest AS g
WHERE d.day BETWEEN $1 AND $2
ORDER BY d.day
