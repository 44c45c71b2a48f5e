-- Binds each idempotency key to its intent, unless an earlier intent holds it. Rows arrive sorted by key, so that two
-- batches never wait for each other crosswise. Returns the intents whose key is now theirs.
INSERT INTO pm.idempotency_key (service_key_id, key, fingerprint, intent_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[])
ON CONFLICT DO NOTHING
RETURNING intent_id
