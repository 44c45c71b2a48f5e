-- What a section left behind, of the intents whose ids lie above a moment: every count is known beforehand.
SELECT
    (SELECT count(*) FROM pm.intent WHERE id > $1) AS intents,
    (SELECT count(*) FROM pm.intent
     WHERE id > $1 AND state = 'SETTLED' AND funds = 'moved' AND version = 3 AND attempt = 1) AS settled,
    (SELECT count(*) FROM pm.intent_attempt WHERE intent_id > $1) AS plans,
    (SELECT count(*) FROM pm.intent_event WHERE intent_id > $1) AS events,
    (SELECT count(*) FROM pm.tx_history WHERE transfer_id > $1) AS movements,
    (SELECT count(*) FROM pm.idempotency_key WHERE intent_id > $1) AS keys
