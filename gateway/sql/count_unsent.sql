-- How many jobs of each PSP have not been sent, counted no further than the bound asks for.
SELECT p.psp, (
    SELECT count(*) FROM (
        SELECT FROM pm.outbox_event AS o WHERE o.psp = p.psp AND o.sent_at IS NULL LIMIT $1
    ) AS bounded
) AS unsent
FROM pm.psp AS p
