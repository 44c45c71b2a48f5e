-- Breaks about something missing of a provider that has come: the intent is decided, or the line is there.
SELECT b.subject, coalesce(i.state, 'line ' || l.line || ' of ' || l.name) AS came
FROM pm.reconciliation_break AS b
LEFT JOIN LATERAL (
    SELECT n.state FROM pm.intent AS n
    WHERE n.id = b.intent_id AND starts_with(b.subject, $1 || ':answer:') AND n.state NOT IN ('AUTHORIZED', 'IN_DOUBT')
    LIMIT 1
) AS i ON true
LEFT JOIN LATERAL (
    SELECT s.line, f.name FROM pm.settlement_line AS s JOIN pm.settlement_file AS f ON f.id = s.file_id
    WHERE s.psp = $1 AND starts_with(b.subject, $1 || ':line:')
      AND s.line_key = substr(b.subject, length($1 || ':line:') + 1) || ':paid'
    LIMIT 1
) AS l ON true
WHERE b.kind = 'psp_missing' AND b.state = 'OPEN' AND b.psp = $1 AND (i.state IS NOT NULL OR l.line IS NOT NULL)
LIMIT $2
