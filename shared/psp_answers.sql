-- How long the latest submissions of each PSP took, from being put on its stream to its answer being on record.
--
-- $1: the PSPs. $2: the smallest entry id of the window; ids begin with unix ms, so the primary key is the index by
-- time. At most the latest $3 words of each PSP are looked at.
SELECT heard.psp, count(*) AS heard,
       count(o.sent_at) AS answers,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM heard.received_at - o.sent_at)::float) AS p95_s
FROM unnest($1::text[]) AS p (psp)
CROSS JOIN LATERAL (
    SELECT r.psp, r.intent_id, r.attempt, r.source, r.body ->> 'action' AS action, r.received_at
    FROM pm.psp_result r
    WHERE r.psp = p.psp AND r.entry_id >= $2
    ORDER BY r.entry_id DESC
    LIMIT $3
) AS heard
LEFT JOIN LATERAL (
    -- With its bound a look-up by primary key for each word, whatever the planner believes of either table.
    SELECT sent_at FROM pm.outbox_event o
    WHERE heard.source = 'job' AND heard.action = 'submit'
      AND o.intent_id = heard.intent_id AND o.attempt = heard.attempt AND o.action = 'submit'
    LIMIT 1
) AS o ON true
GROUP BY heard.psp
