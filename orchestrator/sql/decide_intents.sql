-- Records decisions by compare-and-set: only rows still at the expected version change, and events, history, balances
-- and jobs join only those. Returns the intents that changed; whoever lost reads again and decides again.
WITH decided AS (
    SELECT * FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[],
                         $8::text[], $9::double precision[], $34::text[])
        AS d (id, expected, version, state, funds, error_code, error_detail, next_action, next_poll_s, error_data)
), changed AS (
    UPDATE pm.intent AS i
    SET state = d.state, version = d.version, funds = d.funds,
        error_code = CASE WHEN d.version = d.expected THEN i.error_code ELSE d.error_code END,
        error_detail = CASE WHEN d.version = d.expected THEN i.error_detail ELSE d.error_detail END,
        error_data = CASE WHEN d.version = d.expected THEN i.error_data ELSE d.error_data::json END,
        next_action = coalesce(d.next_action::json, i.next_action),
        next_poll_at = CASE WHEN d.next_poll_s IS NULL THEN i.next_poll_at
                            WHEN d.next_poll_s >= 0 THEN now() + make_interval(secs => d.next_poll_s)
                            -- A callback has spoken of a payment that nobody has heard of otherwise: it is asked about
                            -- once more, although the intent is over. Read under the row's lock, so that none is missed.
                            WHEN EXISTS (
                                SELECT FROM pm.psp_result AS h
                                WHERE h.intent_id = i.id AND h.source = 'callback' AND h.outcome IN ('PAID', 'REVERSED')
                                  AND (h.outcome = 'REVERSED' OR NOT EXISTS (
                                      SELECT FROM pm.psp_tx_map AS m
                                      WHERE m.psp = h.psp
                                        AND m.psp_transaction_id = h.body ->> 'psp_transaction_id'))
                            ) THEN now() + interval '2 s' END,
        updated_at = now()
    FROM decided AS d
    WHERE i.id = d.id AND i.version = d.expected AND i.id = ANY ($1::uuid[])
    RETURNING i.id
), recorded AS (
    INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state, detail)
    SELECT e.id, e.seq, e.from_state, e.to_state, e.detail::json
    FROM unnest($10::uuid[], $11::integer[], $12::text[], $13::text[], $14::text[])
        AS e (id, seq, from_state, to_state, detail)
    JOIN changed USING (id)
), leg AS (
    SELECT l.*
    FROM unnest($15::uuid[], $16::uuid[], $17::uuid[], $18::bigint[], $19::integer[], $20::timestamptz[])
        AS l (id, account_id, transfer_id, amount_minor, code, at)
    JOIN changed USING (id)
), history AS (
    INSERT INTO pm.tx_history (account_id, transfer_id, intent_id, amount_minor, code, at)
    SELECT account_id, transfer_id, id, amount_minor, code, at FROM leg
), delta AS (
    SELECT account_id, amount_minor AS posted, 0 AS held FROM leg
    UNION ALL
    SELECT h.account_id, 0, h.amount_minor
    FROM unnest($21::uuid[], $22::uuid[], $23::bigint[]) AS h (id, account_id, amount_minor)
    JOIN changed USING (id)
), balance AS (
    INSERT INTO pm.account_balance AS b (account_id, posted, held)
    SELECT account_id, sum(posted), sum(held) FROM delta GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE
    SET posted = b.posted + EXCLUDED.posted, held = b.held + EXCLUDED.held, updated_at = now()
), usage AS (
    INSERT INTO pm.limit_usage AS u (account_id, name, used, reserved, resets_at)
    SELECT account_id, min(name), sum(used), sum(reserved), min(resets_at)
    FROM unnest($28::uuid[], $29::uuid[], $30::text[], $31::bigint[], $32::bigint[], $33::timestamptz[])
        AS l (id, account_id, name, used, reserved, resets_at)
    JOIN changed USING (id)
    GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE
    SET used = u.used + EXCLUDED.used, reserved = u.reserved + EXCLUDED.reserved
), dispatched AS (
    INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body)
    -- Dated by the server, like the row: the job's age decides about its permit.
    SELECT o.id, o.attempt, 'submit', o.psp,
           (o.body::jsonb || jsonb_build_object('created_ms', (extract(epoch FROM now()) * 1000)::bigint))::json
    FROM unnest($24::uuid[], $25::smallint[], $26::text[], $27::text[]) AS o (id, attempt, psp, body)
    JOIN changed USING (id)
    ON CONFLICT DO NOTHING
)
SELECT id FROM changed
