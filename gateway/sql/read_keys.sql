-- Which intents these (service key, idempotency key) pairs are bound to, beyond what Redis remembers.
SELECT k.service_key_id, k.key, k.fingerprint, k.intent_id
FROM unnest($1::text[], $2::text[]) AS asked (service_key_id, key)
JOIN pm.idempotency_key AS k USING (service_key_id, key)
