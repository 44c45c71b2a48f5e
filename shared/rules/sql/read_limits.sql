SELECT name, version, operations, currency, tags, transaction_max_minor, daily_max_minor, daily_max_count,
       monthly_max_minor, monthly_max_count
FROM pm.limit_rule
ORDER BY name
