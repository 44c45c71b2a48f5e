-- Notes a file, unless it has been noted; what stands is read in the statement that follows.
INSERT INTO pm.settlement_file (psp, name, sha256, bytes) VALUES ($1, $2, $3, $4)
ON CONFLICT (psp, name, sha256) DO NOTHING
