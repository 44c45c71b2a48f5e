-- Settles what is to be done, once an attempt and once a payment; what stands there already is carried out instead.
INSERT INTO pm.resolution (intent_id, attempt, kind, state, code, amount_minor, psp, psp_transaction_id, evidence,
                           ledger_attempt)
SELECT r.intent_id, r.attempt, r.kind, r.state, r.code, r.amount_minor, r.psp, r.psp_transaction_id, r.evidence::json,
       r.attempt
FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[],
            $9::text[])
    AS r (intent_id, attempt, kind, state, code, amount_minor, psp, psp_transaction_id, evidence)
ON CONFLICT DO NOTHING
