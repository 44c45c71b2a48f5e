-- Whether an intent that was planned before a recovery is still undecided.
SELECT EXISTS (SELECT FROM pm.intent WHERE state = 'VALIDATED' AND id < pm.uuid7_floor($1))
