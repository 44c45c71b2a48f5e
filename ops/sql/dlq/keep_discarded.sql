-- Keeps a dead letter before it is taken away; kept once, by whoever is first.
INSERT INTO pm.discarded_dead_letter (stream, record_id, intent_id, reason, record, discarded_by, why)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
