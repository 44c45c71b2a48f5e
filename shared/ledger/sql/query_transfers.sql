-- $1 and $2 timestamps from and to, $3 limit; then what must match, 0 for anything.
SELECT * FROM ledger.transfer
WHERE "timestamp" BETWEEN $1 AND $2
  AND ($4 = '00000000-0000-0000-0000-000000000000'::uuid OR user_data_128 = $4)
  AND ($5 = 0::bigint OR user_data_64 = $5)
  AND ($6 = 0::bigint OR user_data_32 = $6)
  AND ($7 = 0::integer OR code = $7)
  AND ($8 = 0::bigint OR ledger = $8)
ORDER BY "timestamp" {order}
LIMIT $3
