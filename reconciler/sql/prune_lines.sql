-- Deletes one page of lines of files that were read before the window, but none that somebody may still look at.
DELETE FROM pm.settlement_line
WHERE ctid = ANY (ARRAY(
    SELECT l.ctid FROM pm.settlement_file AS f JOIN pm.settlement_line AS l ON l.file_id = f.id
    WHERE f.finished_at < now() - make_interval(days => $1) AND l.verdict IN ('agrees', 'part')
    LIMIT $2
))
