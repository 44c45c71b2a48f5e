-- Keeps what a PSP calls our references. Rows are locked in the order of their key.
WITH learnt AS (
    SELECT r.psp, r.reference, l.ids::jsonb AS ids
    FROM unnest($1::text[], $2::text[], $3::text[]) AS l (psp, reference, ids)
    JOIN pm.psp_reference AS r ON r.psp = l.psp AND r.reference = l.reference
    WHERE NOT r.psp_ids @> l.ids::jsonb
    ORDER BY r.psp, r.reference
    FOR UPDATE OF r
)
UPDATE pm.psp_reference AS r SET psp_ids = r.psp_ids || learnt.ids
FROM learnt WHERE r.psp = learnt.psp AND r.reference = learnt.reference
