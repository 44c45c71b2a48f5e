-- Adds to the flows of day $1; courses are given in the order of the key.
INSERT INTO pm.ledger_flow AS f (day, operation_type, channel, code, debit, credit, moved, moved_minor, held, held_minor,
                                 voided, voided_minor, ended_minor)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::bigint[], $8::numeric[],
                         $9::bigint[], $10::numeric[], $11::bigint[], $12::numeric[], $13::numeric[])
ON CONFLICT (day, operation_type, channel, code, debit, credit) DO UPDATE
SET moved = f.moved + excluded.moved, moved_minor = f.moved_minor + excluded.moved_minor,
    held = f.held + excluded.held, held_minor = f.held_minor + excluded.held_minor,
    voided = f.voided + excluded.voided, voided_minor = f.voided_minor + excluded.voided_minor,
    ended_minor = f.ended_minor + excluded.ended_minor
