SELECT id, name, version, operation_type, currency, amount_min, amount_max, channel, priority, weight, tags,
       error_max_pct, p95_max_ms, active
FROM pm.payment_route
ORDER BY priority, id
