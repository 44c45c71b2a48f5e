SELECT name, version, operations, currency, tags, timing, condition, fixed_minor, bps, min_minor, max_minor,
       amount_expression, beneficiary, priority, final, active_from, active_until
FROM pm.fee_rule
ORDER BY priority, name
