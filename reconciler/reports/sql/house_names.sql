SELECT id, name FROM pm.tb_account_map WHERE id = ANY ($1::uuid[])
