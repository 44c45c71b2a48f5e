-- Keeps what a PSP calls our references: its answers have the last word, a hint only adds what nobody has said yet.
-- Rows are locked in the order of their key.
WITH learnt AS (
    SELECT r.psp, r.reference, l.hints::jsonb || r.psp_ids || l.answers::jsonb AS ids
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS l (psp, reference, answers, hints)
    JOIN pm.psp_reference AS r ON r.psp = l.psp AND r.reference = l.reference
    ORDER BY r.psp, r.reference
    FOR UPDATE OF r
)
UPDATE pm.psp_reference AS r SET psp_ids = learnt.ids
FROM learnt WHERE r.psp = learnt.psp AND r.reference = learnt.reference AND r.psp_ids <> learnt.ids
