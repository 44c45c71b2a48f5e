-- What is left in the database: intents that are only planned, jobs that have not left the outbox, and intents that
-- wait for their provider. $1 is a provider, or NULL for all of them.
SELECT (SELECT count(*) FROM pm.intent i
        WHERE i.state = 'VALIDATED' AND $1::text IS NULL) AS planned,
       (SELECT count(*) FROM pm.outbox_event o
        WHERE o.sent_at IS NULL AND ($1::text IS NULL OR o.psp = $1)) AS unsent,
       (SELECT count(*) FROM pm.intent i
        WHERE i.state IN ('AUTHORIZED', 'IN_DOUBT')
          AND ($1::text IS NULL OR EXISTS (
              SELECT FROM pm.psp_reference r
              WHERE r.intent_id = i.id AND r.attempt = i.attempt AND r.psp = $1
          ))) AS at_psps
