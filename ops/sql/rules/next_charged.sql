-- The next intents that have moved money or may yet, with what fees are decided by.
SELECT id, operation_type, currency, amount_minor, coalesce(channel, '') AS channel, coalesce(user_id, '') AS user_id,
       tags, operation ->> 'from_account' AS payer, operation ->> 'to_account' AS payee,
       operation #>> '{metadata,labels}' AS labels
FROM pm.intent
WHERE id > $1 AND id < $2 AND operation_type = ANY ($3::text[])
  AND state IN ('VALIDATED', 'AUTHORIZED', 'SETTLED', 'IN_DOUBT')
ORDER BY id
LIMIT $4
