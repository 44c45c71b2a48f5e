"""What every service stands on: pure vocabulary first, then streams, ledger and database."""
