-- What is paused at each provider, by whom and since when, and how many of its jobs wait, counted up to a bound.
SELECT p.psp,
       (SELECT count(*) FROM (
            SELECT FROM pm.outbox_event o WHERE o.psp = p.psp AND o.sent_at IS NULL LIMIT $2
        ) AS waiting) AS unsent,
       ARRAY(SELECT c.operation FROM pm.psp_control c WHERE c.psp = p.psp ORDER BY c.operation) AS operations,
       ARRAY(SELECT c.paused_by FROM pm.psp_control c WHERE c.psp = p.psp ORDER BY c.operation) AS paused_by,
       ARRAY(SELECT (extract(epoch FROM c.paused_at) * 1000)::bigint
             FROM pm.psp_control c WHERE c.psp = p.psp ORDER BY c.operation) AS paused_ms
FROM unnest($1::text[]) AS p (psp)
