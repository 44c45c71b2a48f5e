-- Takes lines of a provider that are to be looked at again, the longest unseen first: what depends on something under
-- way soon, what differs after a longer while. Two reconcilers take different ones.
UPDATE pm.settlement_line AS l SET looked_at = now()
FROM (
    SELECT file_id, line FROM pm.settlement_line
    WHERE psp = $1 AND verdict IN ('new', 'waits', 'says', 'breaks')
      AND looked_at < now() - make_interval(secs => CASE WHEN verdict = 'breaks' THEN $3::float8 ELSE $2::float8 END)
    ORDER BY looked_at
    LIMIT $4
    FOR UPDATE SKIP LOCKED
) AS due
WHERE l.file_id = due.file_id AND l.line = due.line
RETURNING l.file_id, l.line
