-- The latest changes, newest first, each with what it touched.
SELECT c.id, c.at, c.actor, c.reason, c.undoes, c.diff,
       (SELECT coalesce(array_agg(v.kind || ' ' || v.name ORDER BY v.kind, v.name), '{}')
        FROM pm.rule_version v WHERE v.change_id = c.id) AS entries
FROM pm.rule_change c
WHERE $1::bigint IS NULL OR c.id = $1
ORDER BY c.id DESC
LIMIT $2
