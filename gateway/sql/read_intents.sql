-- Each intent asked for, or the earlier one that it is an alias of: an alias answers everywhere with the first one's
-- id and state. An alias whose original has been dropped with its month speaks for itself.
SELECT asked.id AS asked_id,
       asked.alias_of IS NOT NULL AS is_alias,
       coalesce(first.id, asked.id) AS id,
       asked.service_key_id,
       asked.user_id,
       asked.operation_type,
       coalesce(first.state, asked.state) AS state,
       coalesce(first.funds, asked.funds) AS funds,
       CASE WHEN first.id IS NULL THEN asked.error_code ELSE first.error_code END AS error_code,
       CASE WHEN first.id IS NULL THEN asked.error_detail ELSE first.error_detail END AS error_detail,
       CASE WHEN first.id IS NULL THEN asked.error_data ELSE first.error_data END AS error_data,
       CASE WHEN first.id IS NULL THEN asked.parent_id ELSE first.parent_id END AS parent_id,
       CASE WHEN first.id IS NULL THEN asked.next_action ELSE first.next_action END AS next_action,
       coalesce(first.operation, asked.operation) AS operation,
       coalesce(first.requires_monitoring, asked.requires_monitoring) AS requires_monitoring,
       coalesce(first.updated_at, asked.updated_at) AS updated_at
FROM pm.intent AS asked
LEFT JOIN pm.intent AS first ON first.id = asked.alias_of
WHERE asked.id = ANY ($1::uuid[])
