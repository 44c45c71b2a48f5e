-- Keeps what was heard of a PSP, one row an entry; what is read again is there already.
INSERT INTO pm.psp_result (psp, entry_id, intent_id, attempt, source, outcome, body)
SELECT r.psp, r.entry_id, r.intent_id, r.attempt, r.source, r.outcome, r.body::json
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::smallint[], $5::text[], $6::text[], $7::text[])
    AS r (psp, entry_id, intent_id, attempt, source, outcome, body)
ON CONFLICT DO NOTHING
