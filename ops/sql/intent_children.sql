-- The intents that a provider's payments have opened for one, in the order in which they were allocated.
SELECT c.child_id AS id, c.purpose, c.psp, c.psp_transaction_id, i.operation_type, i.state, i.amount_minor, i.currency
FROM pm.psp_child AS c
LEFT JOIN pm.intent AS i ON i.id = c.child_id
WHERE c.parent_id = $1
ORDER BY c.created_at, c.purpose
