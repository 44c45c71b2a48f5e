-- Lines of a file, within a stretch of it, that nobody has judged.
SELECT file_id, line FROM pm.settlement_line
WHERE file_id = $1 AND line BETWEEN $2 AND $3 AND verdict = 'new' ORDER BY line
