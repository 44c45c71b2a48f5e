-- Every withdrawal that has settled, by the reference that the PSP knows it by.
SELECT r.reference, i.amount_minor
FROM pm.intent i
JOIN pm.psp_reference r ON r.intent_id = i.id AND r.attempt = i.attempt
WHERE i.operation_type = 'IPPS_WITHDRAWAL' AND i.state = 'SETTLED'
