-- How many jobs wait in the outbox, and how many of those have waited for long although their intent is decided.
SELECT count(*) AS unsent,
       count(*) FILTER (
           WHERE i.state NOT IN ('VALIDATED', 'AUTHORIZED', 'IN_DOUBT') AND o.created_at < now() - $1::interval
       ) AS stale
FROM pm.outbox_event AS o
LEFT JOIN LATERAL (SELECT state FROM pm.intent AS one WHERE one.id = o.intent_id LIMIT 1) AS i ON true
WHERE o.sent_at IS NULL
