-- What had been counted, each intent included, when each intent was counted: within the window around its own time.
-- What a subject has is read once, however many of its intents are asked about: most of it lies in all their windows.
WITH asked AS (
    SELECT w.rule, w.subject, w.intent_id, w.at, w.width, own.seq
    FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[], $5::interval[])
        AS w (rule, subject, intent_id, at, width)
    JOIN LATERAL (
        SELECT seq FROM pm.velocity_event AS o
        WHERE o.rule = w.rule AND o.subject = w.subject AND o.at = w.at AND o.intent_id = w.intent_id LIMIT 1
    ) AS own ON true
), span AS (
    SELECT rule, subject, width, min(at) AS first, max(at) AS last, min(seq) AS seq
    FROM asked GROUP BY rule, subject, width
), seen AS MATERIALIZED (
    SELECT s.rule, s.subject, f.*
    FROM span AS s
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE e.in_all) AS n,
               coalesce(sum(e.amount_minor) FILTER (WHERE e.in_all), 0) AS total,
               array_agg(e.at) FILTER (WHERE NOT e.in_all) AS ats,
               array_agg(e.seq) FILTER (WHERE NOT e.in_all) AS seqs,
               array_agg(e.amount_minor) FILTER (WHERE NOT e.in_all) AS amounts
        FROM (
            SELECT v.at, v.seq, v.amount_minor,
                   v.at > s.last - s.width AND v.at < s.first + s.width AND v.seq <= s.seq AS in_all
            FROM pm.velocity_event AS v
            WHERE v.rule = s.rule AND v.subject = s.subject AND v.at > s.first - s.width AND v.at < s.last + s.width
        ) AS e
    ) AS f
)
SELECT a.rule, a.intent_id, seen.n + others.n AS n, seen.total + others.total AS total
FROM asked AS a
JOIN seen ON seen.rule = a.rule AND seen.subject = a.subject
CROSS JOIN LATERAL (
    SELECT count(*) AS n, coalesce(sum(o.amount_minor), 0) AS total
    FROM unnest(seen.ats, seen.seqs, seen.amounts) AS o (at, seq, amount_minor)
    WHERE o.at > a.at - a.width AND o.at < a.at + a.width AND o.seq <= a.seq
) AS others
