-- Lines of a file that name a payment which an earlier line has named with the same word: in the same file, or, in
-- another one, with another reference, amount or currency. The same line in another file is no news.
SELECT l.line, l.line_key, l.reference, l.amount_minor, l.currency, s.line AS first_line, s.file_id <> $1 AS elsewhere,
       s.reference AS first_reference, s.amount_minor AS first_minor, s.currency AS first_currency, s.intent_id,
       (s.amount_minor, s.currency) IS DISTINCT FROM (l.amount_minor, l.currency) AS other_amount,
       s.reference IS DISTINCT FROM l.reference AS other_reference
FROM unnest($3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[])
    AS l (line, line_key, reference, amount_minor, currency)
CROSS JOIN LATERAL (
    SELECT * FROM pm.settlement_line AS e WHERE e.psp = $2 AND e.line_key = l.line_key LIMIT 1
) AS s
WHERE (s.file_id = $1 AND s.line <> l.line)
   OR (s.file_id <> $1 AND (s.reference, s.amount_minor, s.currency)
                           IS DISTINCT FROM (l.reference, l.amount_minor, l.currency))
