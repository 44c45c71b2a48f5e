-- For each partitioned table: its name, the partitions of this month and the next that are missing.
SELECT parent,
       ARRAY(
           SELECT to_char(month, 'YYYY_MM')
           FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
                                date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month',
                                interval '1 month') AS month
           WHERE to_regclass(format('pm.%s_%s', parent, to_char(month, 'YYYY_MM'))) IS NULL
           ORDER BY month
       ) AS missing
FROM unnest(ARRAY['intent', 'intent_attempt', 'intent_event', 'tx_history']) AS parent
