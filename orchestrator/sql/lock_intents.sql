-- Takes the row locks in primary-key order: batches that share intents queue up instead of deadlocking.
SELECT id FROM pm.intent WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE
