-- How many intents of each channel and state are not decided yet, counted up to a bound ($1) by their partial index.
SELECT channel, state, count(*) AS n
FROM (
    SELECT channel, state FROM pm.intent WHERE state IN ('VALIDATED', 'AUTHORIZED', 'IN_DOUBT') LIMIT $1
) AS undecided
GROUP BY channel, state
