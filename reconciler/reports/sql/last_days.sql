SELECT day FROM pm.business_day ORDER BY day DESC LIMIT 2
