-- Counts intents for velocity rules, each once. Rows arrive sorted by rule and subject.
INSERT INTO pm.velocity_event (rule, subject, intent_id, at, amount_minor)
SELECT rule, subject, intent_id, at, amount_minor
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[], $5::bigint[])
    WITH ORDINALITY AS e (rule, subject, intent_id, at, amount_minor, n)
ORDER BY n
ON CONFLICT DO NOTHING
