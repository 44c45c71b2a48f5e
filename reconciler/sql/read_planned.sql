-- Intents with the plans of all their attempts, a row an attempt, and what is stored about each: what was resolved, by
-- which reference the PSP knows it, and whether its job was written. LATERAL with a limit keeps each a point look-up.
SELECT i.id, i.state, i.attempt AS present, i.version, i.currency, i.error_code, i.parent_id, child.parent_id AS child_of,
       a.attempt, a.plan, r.kind, r.state AS resolved_state, r.amount_minor, r.ledger_attempt,
       f.psp, f.reference, job.attempt IS NOT NULL AS has_job
FROM unnest($1::uuid[]) AS wanted (id)
JOIN LATERAL (SELECT * FROM pm.intent AS one WHERE one.id = wanted.id LIMIT 1) AS i ON true
LEFT JOIN LATERAL (
    SELECT p.parent_id FROM pm.psp_child AS p WHERE p.child_id = i.id AND i.parent_id IS NOT NULL LIMIT 1
) AS child ON true
LEFT JOIN LATERAL (
    SELECT t.attempt, t.plan FROM pm.intent_attempt AS t WHERE t.intent_id = i.id ORDER BY t.attempt LIMIT 63
) AS a ON true
LEFT JOIN LATERAL (
    SELECT * FROM pm.resolution AS s WHERE s.intent_id = i.id AND s.attempt = a.attempt LIMIT 1
) AS r ON true
LEFT JOIN LATERAL (
    SELECT * FROM pm.psp_reference AS n WHERE n.intent_id = i.id AND n.attempt = a.attempt LIMIT 1
) AS f ON true
LEFT JOIN LATERAL (
    SELECT o.attempt FROM pm.outbox_event AS o
    WHERE o.intent_id = i.id AND o.attempt = a.attempt AND o.action = 'submit' LIMIT 1
) AS job ON true
ORDER BY i.id, a.attempt
