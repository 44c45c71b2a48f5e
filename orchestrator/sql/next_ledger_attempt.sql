-- Goes on to the next number for a resolution whose transfers the ledger has refused, unless somebody has already.
UPDATE pm.resolution SET ledger_attempt = ledger_attempt + 1
WHERE intent_id = $1 AND attempt = $2 AND ledger_attempt = $3 AND ledger_attempt < 63
