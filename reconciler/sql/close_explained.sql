-- Closes alerts about intents that the log knows by now: their entry was still in a stream. Returns how many stay open.
WITH explained AS (
    UPDATE pm.reconciliation_alert a SET closed_at = now()
    WHERE a.kind = 'transfer_without_intent' AND a.closed_at IS NULL
      AND EXISTS (SELECT FROM pm.intent i WHERE i.id = a.intent_id)
    RETURNING a.id
)
SELECT count(*) FROM pm.reconciliation_alert a
WHERE a.kind = 'transfer_without_intent' AND a.closed_at IS NULL AND a.id NOT IN (SELECT id FROM explained)
