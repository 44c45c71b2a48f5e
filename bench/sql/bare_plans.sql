-- The rows of the first transaction: keys, intents, plans and first events.
WITH draft AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[],
        $9::timestamptz[], $10::text[]
    ) AS d (id, service_key_id, user_id, key, fingerprint, amount_minor, currency, operation, created_at, plan)
), bound AS (
    INSERT INTO pm.idempotency_key (service_key_id, key, fingerprint, intent_id)
    SELECT service_key_id, key, fingerprint, id FROM draft
), inserted AS (
    INSERT INTO pm.intent (id, service_key_id, user_id, idempotency_key, operation_type, channel, amount_minor,
                           currency, state, version, operation, created_at)
    SELECT id, service_key_id, user_id, key, 'P2P_TRANSFER', 'INTERNAL_P2P', amount_minor, currency, 'VALIDATED', 1,
           operation::json, created_at
    FROM draft
), planned AS (
    INSERT INTO pm.intent_attempt (intent_id, attempt, plan) SELECT id, 1, plan::json FROM draft
)
INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state) SELECT id, 1, 'CREATED', 'VALIDATED' FROM draft
