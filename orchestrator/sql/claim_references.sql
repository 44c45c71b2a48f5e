-- Claims references at PSPs, each for the first attempt of its intent; a reference that somebody has stays his.
INSERT INTO pm.psp_reference (psp, reference, intent_id, attempt)
SELECT psp, reference, intent_id, 1 FROM unnest($1::text[], $2::text[], $3::uuid[]) AS wanted (psp, reference, intent_id)
ON CONFLICT DO NOTHING
