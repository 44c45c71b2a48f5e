-- Who holds the keys that could not be claimed. A statement of its own: only a new snapshot is sure to see the row
-- that the insert collided with.
SELECT held.service_key_id, held.key, held.fingerprint, held.intent_id
FROM unnest($1::text[], $2::text[]) AS wanted (service_key_id, key)
JOIN pm.idempotency_key AS held USING (service_key_id, key)
