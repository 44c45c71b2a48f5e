-- What stands in the window that ends with each intent, itself included; of two accepted at one moment the later id
-- counts the other.
SELECT w.rule, w.intent_id, s.n, s.total
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[], $5::interval[])
    AS w (rule, subject, intent_id, at, width)
CROSS JOIN LATERAL (
    SELECT count(*) AS n, coalesce(sum(e.amount_minor), 0) AS total
    FROM pm.velocity_event AS e
    WHERE e.rule = w.rule AND e.subject = w.subject AND e.at > w.at - w.width
      AND (e.at, e.intent_id) <= (w.at, w.intent_id)
) AS s
