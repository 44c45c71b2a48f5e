-- Every entry in force of some kinds, with what it says as `ops.rules.entries` writes it. A switch or key has no version.
SELECT kind, name, version, body::text AS body FROM (
    SELECT 'business' AS kind, 'business' AS name, version, jsonb_build_object('time_zone', time_zone) AS body
    FROM pm.business
    UNION ALL
    SELECT 'fee', name, version, jsonb_build_object(
        'operations', operations, 'currency', currency, 'tags', tags, 'timing', timing, 'condition', condition,
        'amount', CASE WHEN amount_expression IS NOT NULL THEN to_jsonb(amount_expression)
                       ELSE jsonb_build_object('fixed_minor', fixed_minor, 'bps', bps, 'min_minor', min_minor,
                                               'max_minor', max_minor) END,
        'beneficiary', beneficiary, 'priority', priority, 'final', final,
        'active_from', to_char(active_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        'active_until', to_char(active_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
    FROM pm.fee_rule
    UNION ALL
    SELECT 'limit', name, version, jsonb_build_object(
        'operations', operations, 'currency', currency, 'tags', tags, 'transaction_max_minor', transaction_max_minor,
        'daily_max_minor', daily_max_minor, 'daily_max_count', daily_max_count,
        'monthly_max_minor', monthly_max_minor, 'monthly_max_count', monthly_max_count)
    FROM pm.limit_rule
    UNION ALL
    SELECT 'velocity', name, version, jsonb_build_object(
        'operations', operations, 'currency', currency, 'tags', tags, 'condition', condition, 'per', per,
        'window_s', window_s, 'max_count', max_count, 'max_sum_minor', max_sum_minor, 'action', action)
    FROM pm.velocity_rule
    UNION ALL
    SELECT 'route', name, version, jsonb_build_object(
        'operation_type', operation_type, 'currency', currency, 'amount_min', amount_min, 'amount_max', amount_max,
        'channel', channel, 'priority', priority, 'weight', weight, 'tags', tags, 'error_max_pct', error_max_pct,
        'p95_max_ms', p95_max_ms, 'active', active)
    FROM pm.payment_route
    UNION ALL
    SELECT 'switch', psp || ':' || operation, NULL,
        jsonb_build_object('psp', psp, 'operation', operation, 'reason', reason)
    FROM pm.psp_control
    UNION ALL
    SELECT 'key', id, NULL,
        jsonb_build_object('key', id, 'owner', owner, 'permissions', permissions,
                           'disabled', disabled_at IS NOT NULL)
    FROM pm.service_key
) AS live
WHERE kind = ANY ($1::text[])
ORDER BY kind, name
