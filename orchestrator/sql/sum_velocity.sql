-- What had been counted, each intent included, when each intent was counted: within the window around its own time.
SELECT w.rule, w.intent_id, s.n, s.total
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[], $5::interval[])
    AS w (rule, subject, intent_id, at, width)
JOIN LATERAL (
    SELECT seq FROM pm.velocity_event AS o
    WHERE o.rule = w.rule AND o.subject = w.subject AND o.at = w.at AND o.intent_id = w.intent_id LIMIT 1
) AS own ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS n, coalesce(sum(e.amount_minor), 0) AS total
    FROM pm.velocity_event AS e
    WHERE e.rule = w.rule AND e.subject = w.subject AND e.at > w.at - w.width AND e.at < w.at + w.width
      AND e.seq <= own.seq
) AS s
