-- How far the walk has come, and the day that is open; `time_zone` is that of the business at present.
SELECT g.walked_ns, g.day, d.time_zone AS day_zone, d.starts_ns, d.ends_ns, b.time_zone
FROM pm.ledger_digest AS g
CROSS JOIN pm.business AS b
LEFT JOIN pm.business_day AS d USING (day)
