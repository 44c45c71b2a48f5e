-- Whoever asks what happened to one intent asks for its alerts, too.
CREATE INDEX reconciliation_alert_intent ON pm.reconciliation_alert (intent_id) WHERE intent_id IS NOT NULL;
