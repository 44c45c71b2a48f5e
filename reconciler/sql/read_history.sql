-- The history rows of intents: of each of these wallets, those whose transfer ids lie in the intent's own range. A point
-- look-up each, in the one partition that the range falls into.
SELECT h.account_id, h.transfer_id, h.intent_id, h.amount_minor, h.code, h.at, wanted.intent AS of_intent
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS wanted (account, intent, past)
JOIN LATERAL (
    SELECT * FROM pm.tx_history AS t
    WHERE t.account_id = wanted.account AND t.transfer_id >= wanted.intent AND t.transfer_id <= wanted.past
    ORDER BY t.transfer_id LIMIT 300
) AS h ON true
