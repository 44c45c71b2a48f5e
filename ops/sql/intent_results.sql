-- What providers said about an intent, in the order in which it was heard; never the bytes of a callback.
SELECT received_at, psp, source, outcome, attempt, body ->> 'action' AS action, body ->> 'code' AS code,
       body ->> 'psp_transaction_id' AS psp_transaction_id, (body ->> 'amount_minor')::bigint AS amount_minor,
       body ->> 'currency' AS currency, coalesce((body ->> 'final')::boolean, false) AS final,
       coalesce((body ->> 'fenced')::boolean, false) AS fenced, body -> 'summary' AS summary
FROM pm.psp_result
WHERE intent_id = $1
ORDER BY received_at, entry_id
LIMIT $2
