-- From where ($1, $2) to where ($3, $4), unless another process was here first.
UPDATE pm.ledger_digest SET walked_ns = $3, day = $4, updated_at = now()
WHERE walked_ns = $1 AND day IS NOT DISTINCT FROM $2
RETURNING walked_ns
