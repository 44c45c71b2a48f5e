-- Opens day $2 with what stood at the end of day $1.
INSERT INTO pm.ledger_day (day, account, opening, debits, credits, opening_held, held, opening_due, due)
SELECT $2, account, opening + credits - debits, 0, 0, opening_held + held, 0, opening_due + due, 0
FROM pm.ledger_day WHERE day = $1
