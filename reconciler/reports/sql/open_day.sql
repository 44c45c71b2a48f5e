INSERT INTO pm.business_day (day, time_zone, starts_ns, ends_ns) VALUES ($1, $2, $3, $4)
