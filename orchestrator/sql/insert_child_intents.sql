-- Writes children with their whole plan, on behalf of their parent's owner. Rows arrive sorted by id.
WITH child AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                         $8::text[], $9::text[], $10::timestamptz[])
        AS c (id, parent_id, idempotency_key, operation_type, amount_minor, currency, channel, operation, plan,
              created_at)
), inserted AS (
    INSERT INTO pm.intent (id, service_key_id, user_id, idempotency_key, operation_type, channel, amount_minor,
                           currency, state, version, parent_id, requires_monitoring, tags, operation, created_at)
    SELECT c.id, p.service_key_id, p.user_id, c.idempotency_key, c.operation_type, c.channel, c.amount_minor,
           c.currency, 'VALIDATED', 1, c.parent_id, p.requires_monitoring, p.tags, c.operation::json, c.created_at
    FROM child AS c JOIN pm.intent AS p ON p.id = c.parent_id AND p.id = ANY ($2::uuid[])
    ON CONFLICT DO NOTHING
    RETURNING id
), planned AS (
    INSERT INTO pm.intent_attempt (intent_id, attempt, plan)
    SELECT id, 1, plan::json FROM child JOIN inserted USING (id)
)
INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state, detail)
SELECT id, 1, 'CREATED', 'VALIDATED', json_build_object('parent', parent_id) FROM child JOIN inserted USING (id)
