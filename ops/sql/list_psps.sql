-- The registered providers, each with what is paused and how many jobs wait in its outbox.
SELECT p.psp, p.manifest, p.version, p.updated_at,
       (SELECT count(*) FROM pm.outbox_event o WHERE o.psp = p.psp AND o.sent_at IS NULL) AS unsent,
       coalesce((
           SELECT json_agg(json_build_object('operation', c.operation, 'reason', c.reason, 'by', c.paused_by,
                                             'at', c.paused_at) ORDER BY c.operation)
           FROM pm.psp_control c WHERE c.psp = p.psp
       ), '[]') AS paused
FROM pm.psp p
ORDER BY p.psp
