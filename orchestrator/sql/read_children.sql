-- The ids as allocated, read in a statement of its own.
SELECT c.psp_transaction_id, c.purpose, c.child_id, c.parent_id
FROM unnest($2::text[], $3::text[]) AS wanted (psp_transaction_id, purpose)
JOIN pm.psp_child AS c
    ON c.psp = $1 AND c.psp_transaction_id = wanted.psp_transaction_id AND c.purpose = wanted.purpose
