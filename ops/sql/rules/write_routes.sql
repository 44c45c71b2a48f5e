-- Puts routes into force, each as a whole; one that is there keeps its id, which plans name.
INSERT INTO pm.payment_route (name, version, operation_type, currency, amount_min, amount_max, channel, priority,
                              weight, tags, error_max_pct, p95_max_ms, active)
SELECT e.name, e.version, e.operation_type, e.currency, e.amount_min, e.amount_max, e.channel, e.priority, e.weight,
       e.tags, e.error_max_pct, e.p95_max_ms, e.active
FROM jsonb_to_recordset($1::jsonb) AS e (
    name text, version integer, operation_type text, currency text, amount_min bigint, amount_max bigint,
    channel text, priority integer, weight integer, tags text[], error_max_pct integer, p95_max_ms integer,
    active boolean)
ORDER BY e.name
ON CONFLICT (name) DO UPDATE SET
    version = excluded.version, operation_type = excluded.operation_type, currency = excluded.currency,
    amount_min = excluded.amount_min, amount_max = excluded.amount_max, channel = excluded.channel,
    priority = excluded.priority, weight = excluded.weight, tags = excluded.tags,
    error_max_pct = excluded.error_max_pct, p95_max_ms = excluded.p95_max_ms, active = excluded.active
