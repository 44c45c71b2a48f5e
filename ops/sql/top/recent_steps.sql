-- How many intents entered each state in the last $1 seconds.
--
-- Events have no index by time, but ids begin with the time of acceptance: looked at are the intents accepted since
-- the id $2, and those of earlier ones that a PSP has spoken of within the window ($3: each PSP's name, $4: the
-- smallest entry id of the window). At most $5 events and words are read.
WITH accepted AS (
    SELECT intent_id, seq, to_state, at FROM pm.intent_event WHERE intent_id >= $2::uuid LIMIT $5
), spoken AS (
    SELECT DISTINCT heard.intent_id
    FROM unnest($3::text[]) AS p (psp)
    CROSS JOIN LATERAL (
        SELECT r.intent_id FROM pm.psp_result r WHERE r.psp = p.psp AND r.entry_id >= $4 AND r.intent_id < $2::uuid
        LIMIT $5
    ) AS heard
), followed AS (
    -- With its bound a look-up by primary key for each intent, whatever the planner believes of either table.
    SELECT step.* FROM spoken CROSS JOIN LATERAL (
        SELECT e.intent_id, e.seq, e.to_state, e.at FROM pm.intent_event e
        WHERE e.intent_id = spoken.intent_id ORDER BY e.seq DESC LIMIT 100
    ) AS step
)
SELECT to_state AS state, count(*) AS n
FROM (SELECT * FROM accepted UNION ALL SELECT * FROM followed) AS steps
WHERE at > now() - make_interval(secs => $1)
GROUP BY to_state
