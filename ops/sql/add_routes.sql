-- Routes operations to a channel that has no route for them, not even one that was switched off.
INSERT INTO pm.payment_route (operation_type, currency, channel)
SELECT given.operation_type, given.currency, $3
FROM unnest($1::text[], $2::text[]) AS given (operation_type, currency)
WHERE NOT EXISTS (
    SELECT FROM pm.payment_route r WHERE r.operation_type = given.operation_type AND r.channel = $3
)
RETURNING operation_type
