SELECT sha256 FROM pm.report WHERE kind = $1 AND period = $2 AND format = $3
