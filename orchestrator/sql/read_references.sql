-- Whose references they are. A statement of its own: only a new snapshot is sure to see what the claim collided with.
SELECT held.psp, held.reference, held.intent_id, held.attempt
FROM unnest($1::text[], $2::text[]) AS wanted (psp, reference)
CROSS JOIN LATERAL (
    SELECT * FROM pm.psp_reference AS r WHERE r.psp = wanted.psp AND r.reference = wanted.reference LIMIT 1
) AS held
