-- Which of these intents the log does not know.
SELECT asked.id FROM unnest($1::uuid[]) AS asked (id)
WHERE NOT EXISTS (SELECT FROM pm.intent i WHERE i.id = asked.id)
