-- The last change that somebody made to entries of some kinds, and the one before it; what was merely found is none.
SELECT c.id, (SELECT max(b.id) FROM pm.rule_change b WHERE b.id < c.id) AS before
FROM pm.rule_change c
WHERE c.actor <> $2 AND EXISTS (SELECT FROM pm.rule_version v WHERE v.change_id = c.id AND v.kind = ANY ($1::text[]))
ORDER BY c.id DESC
LIMIT 1
