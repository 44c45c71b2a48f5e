-- The open breaks about these subjects.
SELECT b.kind, b.subject FROM unnest($2::text[]) AS s (subject)
JOIN pm.reconciliation_break AS b ON b.subject = s.subject AND b.kind = ANY ($1::text[]) AND b.state = 'OPEN'
