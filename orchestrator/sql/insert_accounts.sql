-- Records accounts that the ledger has confirmed. Rows arrive sorted by name.
INSERT INTO pm.tb_account_map (name, id, ledger, opened_by)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::integer[], $4::text[])
ON CONFLICT DO NOTHING
