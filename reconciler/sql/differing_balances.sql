-- Wallets whose balance is not the sum of their history, or whose held amount is not that of the open intents that
-- hold something of them; with what both should be.
WITH wallet AS (
    SELECT w.id, m.name FROM unnest($1::uuid[]) AS w (id) JOIN pm.tb_account_map AS m ON m.id = w.id
), hold AS (
    SELECT leg ->> 0 AS name, sum((leg ->> 2)::numeric) AS held
    FROM pm.intent AS i
    JOIN pm.intent_attempt AS a ON a.intent_id = i.id AND a.attempt = i.attempt
    CROSS JOIN LATERAL json_array_elements(a.plan -> 'legs') AS leg
    WHERE i.state IN ('AUTHORIZED', 'IN_DOUBT') AND a.plan ->> 'kind' = 'hold'
    GROUP BY leg ->> 0
), due AS (
    SELECT w.id AS account_id,
           coalesce((SELECT sum(h.amount_minor) FROM pm.tx_history AS h WHERE h.account_id = w.id), 0) AS posted,
           coalesce(o.held, 0) AS held
    FROM wallet AS w LEFT JOIN hold AS o ON o.name = w.name
)
SELECT d.account_id, d.posted, d.held FROM due AS d
LEFT JOIN pm.account_balance AS b ON b.account_id = d.account_id
WHERE coalesce(b.posted, 0) <> d.posted OR coalesce(b.held, 0) <> d.held
ORDER BY d.account_id
