"""The ledger: TigerBeetle's own interface, two implementations of it, and the algebra of what its answers mean."""
