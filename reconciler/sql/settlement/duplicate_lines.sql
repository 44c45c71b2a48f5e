-- Lines of a file that name a payment which an earlier line of the same file has named with the same word.
SELECT l.line, l.line_key, s.line AS first_line, s.amount_minor AS first_minor, s.currency, l.amount_minor, s.intent_id
FROM unnest($3::bigint[], $4::text[], $5::bigint[]) AS l (line, line_key, amount_minor)
CROSS JOIN LATERAL (
    SELECT * FROM pm.settlement_line AS e WHERE e.psp = $2 AND e.line_key = l.line_key LIMIT 1
) AS s
WHERE s.file_id = $1 AND s.line <> l.line
