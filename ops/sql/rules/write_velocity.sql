-- Puts velocity rules into force, each as a whole.
INSERT INTO pm.velocity_rule (name, version, operations, currency, tags, condition, per, window_s, max_count,
                              max_sum_minor, action)
SELECT e.name, e.version, e.operations, e.currency, e.tags, e.condition, e.per, e.window_s, e.max_count,
       e.max_sum_minor, e.action
FROM jsonb_to_recordset($1::jsonb) AS e (
    name text, version integer, operations text[], currency text, tags text[], condition text, per text,
    window_s integer, max_count integer, max_sum_minor bigint, action text)
ORDER BY e.name
ON CONFLICT (name) DO UPDATE SET
    version = excluded.version, operations = excluded.operations, currency = excluded.currency, tags = excluded.tags,
    condition = excluded.condition, per = excluded.per, window_s = excluded.window_s, max_count = excluded.max_count,
    max_sum_minor = excluded.max_sum_minor, action = excluded.action
