-- What a section left behind, of the intents whose ids lie above a moment: every count is known beforehand.
-- Withdrawals that ran beside it are left out: the PSP's own books are held against those.
WITH beside AS (
    SELECT id FROM pm.intent WHERE id > $1 AND operation_type = 'IPPS_WITHDRAWAL'
)
SELECT
    (SELECT count(*) FROM pm.intent WHERE id > $1 AND id NOT IN (TABLE beside)) AS intents,
    (SELECT count(*) FROM pm.intent
     WHERE id > $1 AND id NOT IN (TABLE beside)
       AND state = 'SETTLED' AND funds = 'moved' AND version = 3 AND attempt = 1) AS settled,
    (SELECT count(*) FROM pm.intent_attempt WHERE intent_id > $1 AND intent_id NOT IN (TABLE beside)) AS plans,
    (SELECT count(*) FROM pm.intent_event WHERE intent_id > $1 AND intent_id NOT IN (TABLE beside)) AS events,
    (SELECT count(*) FROM pm.tx_history
     WHERE transfer_id > $1 AND intent_id NOT IN (TABLE beside)) AS movements,
    (SELECT count(*) FROM pm.idempotency_key WHERE intent_id > $1 AND intent_id NOT IN (TABLE beside)) AS keys
