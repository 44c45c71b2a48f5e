-- Allocates the ids of children, once a payment and purpose.
INSERT INTO pm.psp_child (psp, psp_transaction_id, purpose, child_id, parent_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::uuid[])
ON CONFLICT DO NOTHING
