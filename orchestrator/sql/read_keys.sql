-- Who holds the keys that could not be claimed. A statement of its own: only a new snapshot is sure to see the row
-- that the insert collided with. LATERAL with a limit keeps it one index look-up a key, however the plan came about.
SELECT held.service_key_id, held.key, held.fingerprint, held.intent_id
FROM unnest($1::text[], $2::text[]) AS wanted (service_key_id, key)
CROSS JOIN LATERAL (
    SELECT * FROM pm.idempotency_key AS k
    WHERE k.service_key_id = wanted.service_key_id AND k.key = wanted.key
    LIMIT 1
) AS held
