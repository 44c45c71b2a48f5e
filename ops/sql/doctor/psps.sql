-- Each registered provider with its manifest, how many routes lead to its channel, how many of those are active, and
-- what is paused.
SELECT p.psp, p.manifest,
       (SELECT count(*) FROM pm.payment_route r WHERE r.channel = p.manifest ->> 'channel') AS routes,
       (SELECT count(*) FROM pm.payment_route r WHERE r.channel = p.manifest ->> 'channel' AND r.active) AS active,
       ARRAY(SELECT format('%s since %s by %s: %s', c.operation, to_char(c.paused_at, 'YYYY-MM-DD HH24:MI'),
                           c.paused_by, c.reason)
             FROM pm.psp_control c WHERE c.psp = p.psp ORDER BY c.operation) AS paused
FROM pm.psp p
ORDER BY p.psp
