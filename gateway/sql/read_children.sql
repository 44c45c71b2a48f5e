-- The intents that others have opened: late credits, reversals. Newest first and no more than the bound of each; by
-- created_at, so that the order is never taken for a reason to walk the whole log backwards.
SELECT parent.id AS parent_id, child.id, child.operation_type, child.state
FROM unnest($1::uuid[]) AS parent (id)
CROSS JOIN LATERAL (
    SELECT i.id, i.operation_type, i.state, i.created_at
    FROM pm.intent AS i
    WHERE i.parent_id = parent.id
    ORDER BY i.created_at DESC, i.id DESC
    LIMIT $2
) AS child
ORDER BY parent.id, child.created_at DESC, child.id DESC
