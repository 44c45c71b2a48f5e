-- Adds to what day $1 did to its accounts, given in the order of their names. A new account opens at nothing.
INSERT INTO pm.ledger_day AS d (day, account, opening, debits, credits, opening_held, held, opening_due, due)
SELECT $1, account, 0, debits, credits, 0, held, 0, due
FROM unnest($2::text[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[])
    AS m (account, debits, credits, held, due)
ON CONFLICT (day, account) DO UPDATE
SET debits = d.debits + excluded.debits, credits = d.credits + excluded.credits,
    held = d.held + excluded.held, due = d.due + excluded.due
