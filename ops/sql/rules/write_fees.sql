-- Puts fee rules into force, each as a whole; an amount is data, or the text of an expression.
INSERT INTO pm.fee_rule (name, version, operations, currency, tags, timing, condition, fixed_minor, bps, min_minor,
                         max_minor, amount_expression, beneficiary, priority, final, active_from, active_until)
SELECT e.name, e.version, e.operations, e.currency, e.tags, e.timing, e.condition,
       CASE WHEN jsonb_typeof(e.amount) = 'object' THEN (e.amount ->> 'fixed_minor')::bigint END,
       CASE WHEN jsonb_typeof(e.amount) = 'object' THEN (e.amount ->> 'bps')::integer END,
       CASE WHEN jsonb_typeof(e.amount) = 'object' THEN (e.amount ->> 'min_minor')::bigint END,
       CASE WHEN jsonb_typeof(e.amount) = 'object' THEN (e.amount ->> 'max_minor')::bigint END,
       CASE WHEN jsonb_typeof(e.amount) = 'string' THEN e.amount #>> '{}' END,
       e.beneficiary, e.priority, e.final, e.active_from, e.active_until
FROM jsonb_to_recordset($1::jsonb) AS e (
    name text, version integer, operations text[], currency text, tags text[], timing text, condition text,
    amount jsonb, beneficiary text, priority integer, final boolean, active_from timestamptz, active_until timestamptz)
ORDER BY e.name
ON CONFLICT (name) DO UPDATE SET
    version = excluded.version, operations = excluded.operations, currency = excluded.currency, tags = excluded.tags,
    timing = excluded.timing, condition = excluded.condition, fixed_minor = excluded.fixed_minor, bps = excluded.bps,
    min_minor = excluded.min_minor, max_minor = excluded.max_minor, amount_expression = excluded.amount_expression,
    beneficiary = excluded.beneficiary, priority = excluded.priority, final = excluded.final,
    active_from = excluded.active_from, active_until = excluded.active_until
