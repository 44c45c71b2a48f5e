SELECT name, version, operations, currency, tags, condition, per, window_s, max_count, max_sum_minor, action
FROM pm.velocity_rule
ORDER BY name
