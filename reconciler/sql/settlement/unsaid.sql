-- Lines whose word is still to be said, the oldest first, with what their intents asked of the provider.
SELECT l.file_id, l.line, f.name AS file_name, f.sha256, l.reference, l.psp_transaction_id, l.means, l.amount_minor,
       l.currency, i.id AS intent_id, i.state, i.attempt, p.operation, p.kind AS plan_kind,
       coalesce(r.psp_ids, '{}')::text AS psp_ids
FROM pm.settlement_line AS l
JOIN pm.settlement_file AS f ON f.id = l.file_id
CROSS JOIN LATERAL (SELECT * FROM pm.intent AS e WHERE e.id = l.intent_id LIMIT 1) AS i
CROSS JOIN LATERAL (
    SELECT a.plan ->> 'kind' AS kind, a.plan #>> '{dispatch,operation}' AS operation
    FROM pm.intent_attempt AS a WHERE a.intent_id = i.id AND a.attempt = i.attempt LIMIT 1
) AS p
CROSS JOIN LATERAL (
    SELECT * FROM pm.psp_reference AS h
    WHERE h.psp = l.psp AND h.reference = l.reference AND h.attempt = i.attempt LIMIT 1
) AS r
WHERE l.psp = $1 AND l.verdict = 'says' AND l.said_at IS NULL
  -- What has ended meanwhile is looked at again; a code that was paid once more is not over by having been paid.
  AND (i.state IN ('AUTHORIZED', 'IN_DOUBT') OR p.kind = 'credit')
  -- What another file has said since "failed" was judged: that it was paid comes first.
  AND (l.means = 'paid' OR NOT EXISTS (
      SELECT FROM pm.settlement_line AS e
      WHERE e.intent_id = l.intent_id AND e.psp = l.psp AND e.means = 'paid' AND e.verdict <> 'agrees'
  ))
  AND (l.file_id, l.line) > ($2::bigint, $3::bigint)
ORDER BY l.file_id, l.line
LIMIT $4
