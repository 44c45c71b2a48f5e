-- Writes intents with their whole plan and first event, before the ledger is touched. Rows arrive sorted by id.
-- Returns the intents that were new; the plan stored earlier wins for all others.
WITH draft AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::uuid[], $13::boolean[], $14::text[], $15::text[], $16::timestamptz[], $17::text[],
        $18::text[], $19::text[]
    ) AS d (id, service_key_id, user_id, idempotency_key, operation_type, channel, amount_minor, currency, state,
            error_code, error_detail, alias_of, requires_monitoring, tags, operation, created_at, plan,
            error_data, event_detail)
), inserted AS (
    INSERT INTO pm.intent (id, service_key_id, user_id, idempotency_key, operation_type, channel, amount_minor,
                           currency, state, version, error_code, error_detail, alias_of, requires_monitoring, tags,
                           operation, created_at, error_data)
    SELECT id, service_key_id, user_id, idempotency_key, operation_type, channel, amount_minor, currency, state, 1,
           error_code, error_detail, alias_of, requires_monitoring, tags::text[], operation::json, created_at,
           error_data::json
    FROM draft
    ON CONFLICT DO NOTHING
    RETURNING id
), planned AS (
    INSERT INTO pm.intent_attempt (intent_id, attempt, plan)
    SELECT id, 1, plan::json FROM draft JOIN inserted USING (id) WHERE plan IS NOT NULL
), recorded AS (
    INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state, detail)
    SELECT id, 1, 'CREATED', state, event_detail::json
    FROM draft JOIN inserted USING (id)
)
SELECT id FROM inserted
