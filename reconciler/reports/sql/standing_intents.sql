-- The intents that were open at $1, by what they were waiting for. Those that have ended since are found by their
-- events since, so that the cost grows with what has happened since, not with history.
WITH candidate AS (
    SELECT id FROM pm.intent WHERE state IN ('VALIDATED', 'AUTHORIZED', 'IN_DOUBT') AND id < pm.uuid7_floor($1)
    UNION
    SELECT intent_id FROM pm.intent_event WHERE at >= $1 AND intent_id < pm.uuid7_floor($1)
), stood AS (
    SELECT c.id, (
        SELECT e.to_state FROM pm.intent_event AS e WHERE e.intent_id = c.id AND e.at < $1 ORDER BY e.seq DESC LIMIT 1
    ) AS state
    FROM candidate AS c
)
SELECT s.state, i.operation_type, coalesce(i.channel, 'UNKNOWN') AS channel, i.currency, count(*) AS intents,
       sum(i.amount_minor) AS amount_minor, min(i.created_at) AS oldest_at
FROM stood AS s
JOIN pm.intent AS i ON i.id = s.id
WHERE s.state IN ('VALIDATED', 'AUTHORIZED', 'IN_DOUBT')
GROUP BY s.state, i.operation_type, i.channel, i.currency
ORDER BY s.state, i.operation_type, i.channel, i.currency
