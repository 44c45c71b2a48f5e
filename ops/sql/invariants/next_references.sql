-- The next references at PSPs, each with what its attempt has planned to ask under which reference.
SELECT f.psp, f.reference, f.intent_id, f.attempt,
       a.plan -> 'dispatch' ->> 'psp' AS planned_psp, a.plan -> 'dispatch' ->> 'reference' AS planned_reference
FROM (
    SELECT * FROM pm.psp_reference WHERE (psp, reference) > ($1, $2) ORDER BY psp, reference LIMIT $3
) AS f
LEFT JOIN LATERAL (
    SELECT p.plan FROM pm.intent_attempt AS p WHERE p.intent_id = f.intent_id AND p.attempt = f.attempt LIMIT 1
) AS a ON true
ORDER BY f.psp, f.reference
