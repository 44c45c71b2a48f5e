SELECT day, account, opening, debits, credits, opening_held, held, opening_due, due
FROM pm.ledger_day WHERE day BETWEEN $1 AND $2 ORDER BY day, account
