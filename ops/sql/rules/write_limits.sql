-- Puts limit rules into force, each as a whole.
INSERT INTO pm.limit_rule (name, version, operations, currency, tags, transaction_max_minor, daily_max_minor,
                           daily_max_count, monthly_max_minor, monthly_max_count)
SELECT e.name, e.version, e.operations, e.currency, e.tags, e.transaction_max_minor, e.daily_max_minor,
       e.daily_max_count, e.monthly_max_minor, e.monthly_max_count
FROM jsonb_to_recordset($1::jsonb) AS e (
    name text, version integer, operations text[], currency text, tags text[], transaction_max_minor bigint,
    daily_max_minor bigint, daily_max_count bigint, monthly_max_minor bigint, monthly_max_count bigint)
ORDER BY e.name
ON CONFLICT (name) DO UPDATE SET
    version = excluded.version, operations = excluded.operations, currency = excluded.currency, tags = excluded.tags,
    transaction_max_minor = excluded.transaction_max_minor, daily_max_minor = excluded.daily_max_minor,
    daily_max_count = excluded.daily_max_count, monthly_max_minor = excluded.monthly_max_minor,
    monthly_max_count = excluded.monthly_max_count
