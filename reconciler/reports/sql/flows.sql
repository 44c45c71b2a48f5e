SELECT day, operation_type, channel, code, debit, credit, moved, moved_minor, held, held_minor, voided, voided_minor,
       ended_minor
FROM pm.ledger_flow WHERE day BETWEEN $1 AND $2
ORDER BY day, operation_type, channel, code, debit, credit
