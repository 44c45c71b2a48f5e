-- $1 account, $2 debits?, $3 credits?, $4 and $5 timestamps from and to, $6 limit; then what must match, 0 for anything.
WITH debits AS (
    SELECT * FROM ledger.transfer
    WHERE $2 AND debit_account_id = $1 AND "timestamp" BETWEEN $4 AND $5
      AND ($7 = '00000000-0000-0000-0000-000000000000'::uuid OR user_data_128 = $7)
      AND ($8 = 0::bigint OR user_data_64 = $8)
      AND ($9 = 0::bigint OR user_data_32 = $9)
      AND ($10 = 0::integer OR code = $10)
    ORDER BY "timestamp" {order}
    LIMIT $6
), credits AS (
    SELECT * FROM ledger.transfer
    WHERE $3 AND credit_account_id = $1 AND "timestamp" BETWEEN $4 AND $5
      AND ($7 = '00000000-0000-0000-0000-000000000000'::uuid OR user_data_128 = $7)
      AND ($8 = 0::bigint OR user_data_64 = $8)
      AND ($9 = 0::bigint OR user_data_32 = $9)
      AND ($10 = 0::integer OR code = $10)
    ORDER BY "timestamp" {order}
    LIMIT $6
)
SELECT * FROM debits
UNION ALL
SELECT * FROM credits
ORDER BY "timestamp" {order}
LIMIT $6
