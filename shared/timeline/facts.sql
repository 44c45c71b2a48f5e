-- Everything that the database knows of some intents, as of one moment: a row a fact, the newest of each kind. What is
-- sealed stays where it is, and so do the bytes of callbacks.
(SELECT i.id AS intent_id, 'intent' AS kind, i.created_at AS at, jsonb_build_object(
     'state', i.state, 'attempt', i.attempt, 'funds', i.funds, 'error_code', i.error_code,
     'error_detail', i.error_detail, 'alias_of', i.alias_of, 'parent_id', i.parent_id,
     'service_key_id', i.service_key_id, 'user_id', i.user_id, 'operation_type', i.operation_type,
     'amount_minor', i.amount_minor, 'currency', i.currency, 'next_poll_at', i.next_poll_at, 'polls', i.polls,
     'asks_payer_until_ms', i.next_action -> 'expires_ms'
 ) AS body
 FROM pm.intent AS i WHERE i.id = ANY ($1))
UNION ALL
(SELECT a.intent_id, 'plan', a.created_at, jsonb_build_object(
     'attempt', a.attempt, 'burned_at', a.burned_at, 'channel', a.plan -> 'channel', 'route', a.plan -> 'route',
     'kind', a.plan -> 'kind', 'legs', a.plan -> 'legs', 'fees', a.plan -> 'fees', 'limits', a.plan -> 'limits',
     'psp', a.plan #> '{dispatch,psp}',
     'operation', a.plan #> '{dispatch,operation}', 'reference', a.plan #> '{dispatch,reference}'
 )
 FROM pm.intent_attempt AS a WHERE a.intent_id = ANY ($1))
UNION ALL
(SELECT e.intent_id, 'step', e.at, jsonb_build_object(
     'seq', e.seq, 'from_state', e.from_state, 'to_state', e.to_state, 'error', e.detail -> 'error',
     'limit', e.detail -> 'limit', 'rule', e.detail -> 'rule', 'version', e.detail -> 'version',
     'monitored_by', e.detail -> 'monitored_by',
     'currency', CASE WHEN e.detail -> 'limit' IS NOT NULL THEN (
         SELECT i.currency FROM pm.intent AS i WHERE i.id = e.intent_id
     ) END
 )
 FROM pm.intent_event AS e WHERE e.intent_id = ANY ($1))
UNION ALL
(SELECT moved.intent_id, 'movement', h.at, jsonb_build_object(
     'account', moved.name, 'transfer_id', h.transfer_id, 'amount_minor', h.amount_minor, 'code', h.code
 )
 FROM (
     -- By account: that is how the history is kept.
     SELECT DISTINCT a.intent_id, m.name, m.id
     FROM pm.intent_attempt AS a
     CROSS JOIN LATERAL json_array_elements(a.plan -> 'legs') AS leg
     CROSS JOIN LATERAL (VALUES (leg ->> 0), (leg ->> 1)) AS side (name)
     JOIN pm.tb_account_map AS m ON m.name = side.name
     WHERE a.intent_id = ANY ($1)
 ) AS moved
 JOIN pm.tx_history AS h ON h.account_id = moved.id
     AND h.transfer_id BETWEEN moved.intent_id AND (left(moved.intent_id::text, 32) || 'ffff')::uuid)
UNION ALL
(SELECT o.intent_id, 'job', o.created_at, jsonb_build_object(
     'attempt', o.attempt, 'action', o.action, 'psp', o.psp, 'sent_at', o.sent_at
 )
 FROM pm.outbox_event AS o WHERE o.intent_id = ANY ($1))
UNION ALL
(SELECT r.intent_id, 'reference', r.created_at, jsonb_build_object(
     'attempt', r.attempt, 'psp', r.psp, 'reference', r.reference, 'psp_ids', r.psp_ids
 )
 FROM pm.psp_reference AS r WHERE r.intent_id = ANY ($1))
UNION ALL
(SELECT s.intent_id, 'said', s.received_at, jsonb_build_object(
     'psp', s.psp, 'source', s.source, 'outcome', s.outcome, 'attempt', s.attempt, 'action', s.body -> 'action',
     'code', s.body -> 'code', 'detail', s.body -> 'detail', 'psp_transaction_id', s.body -> 'psp_transaction_id',
     'amount_minor', s.body -> 'amount_minor', 'currency', s.body -> 'currency', 'final', s.body -> 'final',
     'fenced', s.body -> 'fenced', 'summary', s.body -> 'summary'
 )
 FROM pm.psp_result AS s WHERE s.intent_id = ANY ($1) ORDER BY s.received_at DESC LIMIT $2)
UNION ALL
(SELECT r.intent_id, 'resolution', r.created_at, jsonb_build_object(
     'attempt', r.attempt, 'kind', r.kind, 'state', r.state, 'code', r.code, 'amount_minor', r.amount_minor,
     'psp_transaction_id', r.psp_transaction_id, 'ledger_attempt', r.ledger_attempt
 )
 FROM pm.resolution AS r WHERE r.intent_id = ANY ($1))
UNION ALL
(SELECT c.parent_id, 'child', c.created_at, jsonb_build_object(
     'id', c.child_id, 'purpose', c.purpose, 'psp', c.psp, 'psp_transaction_id', c.psp_transaction_id
 )
 FROM pm.psp_child AS c WHERE c.parent_id = ANY ($1) ORDER BY c.created_at DESC LIMIT $2)
UNION ALL
(SELECT a.intent_id, 'alert', a.first_at, jsonb_build_object(
     'kind', a.kind, 'severity', a.severity, 'subject', a.subject, 'seen', a.seen, 'last_at', a.last_at,
     'closed_at', a.closed_at
 )
 FROM pm.reconciliation_alert AS a WHERE a.intent_id = ANY ($1) ORDER BY a.first_at DESC LIMIT $2)
UNION ALL
(SELECT asked.id, 'deed', d.at, jsonb_build_object(
     'actor', d.actor, 'action', d.action, 'reason', d.reason, 'detail', d.detail
 )
 FROM unnest($1::uuid[]) AS asked (id)
 JOIN pm.audit_log AS d ON d.target = 'intent:' || asked.id
 ORDER BY d.at DESC LIMIT $2)
UNION ALL
(SELECT r.intent_id, 'request', r.requested_at, jsonb_build_object(
     'id', r.id, 'kind', r.kind, 'requested_by', r.requested_by, 'decision', r.decision
 )
 FROM pm.operator_request AS r
 WHERE r.intent_id = ANY ($1) AND r.decision IS DISTINCT FROM 'declined' AND r.carried_out_at IS NULL)
UNION ALL
(SELECT r.intent_id, 'pause', p.paused_at, jsonb_build_object(
     'psp', p.psp, 'operation', p.operation, 'reason', p.reason, 'paused_by', p.paused_by
 )
 FROM pm.psp_reference AS r
 JOIN pm.psp_control AS p ON p.psp = r.psp
 WHERE r.intent_id = ANY ($1))
