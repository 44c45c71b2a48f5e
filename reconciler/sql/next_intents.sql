-- The next intents that are past planning. A plan that nobody has carried out yet promises nothing.
SELECT id FROM pm.intent
WHERE id > $1 AND id <= $2 AND state <> 'VALIDATED'
ORDER BY id
LIMIT $3
