-- What became of the withdrawals whose ids lie above a moment.
SELECT concat_ws(' ', state, error_code) AS state, count(*) AS withdrawals
FROM pm.intent
WHERE id > $1 AND operation_type = 'IPPS_WITHDRAWAL'
GROUP BY 1
ORDER BY 1
