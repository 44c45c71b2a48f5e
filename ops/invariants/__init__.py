"""The invariants: ledger and database say the same, nothing moved that should not, nothing is missing."""
