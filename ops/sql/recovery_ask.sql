-- Has the provider asked about every open intent, within seconds instead of when it falls due.
UPDATE pm.intent SET next_poll_at = least(next_poll_at, now() + random() * interval '10 seconds')
WHERE state IN ('AUTHORIZED', 'IN_DOUBT')
