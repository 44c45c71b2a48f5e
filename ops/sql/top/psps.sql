-- The registered PSPs: channel, what is paused, how many jobs wait in the outbox (counted up to $1) and since when.
SELECT p.psp, p.version, p.manifest ->> 'channel' AS channel,
       (SELECT count(*) FROM (
            SELECT FROM pm.outbox_event o WHERE o.psp = p.psp AND o.sent_at IS NULL LIMIT $1
        ) AS waiting) AS unsent,
       (SELECT extract(epoch FROM now() - o.created_at)::float FROM pm.outbox_event o
        WHERE o.psp = p.psp AND o.sent_at IS NULL ORDER BY o.intent_id LIMIT 1) AS unsent_oldest_s,
       coalesce((
           SELECT json_agg(json_build_object('operation', c.operation, 'reason', c.reason, 'by', c.paused_by,
                                             'at', c.paused_at) ORDER BY c.operation)
           FROM pm.psp_control c WHERE c.psp = p.psp
       ), '[]') AS paused
FROM pm.psp p
ORDER BY p.psp
