"""The `paymesh` command: demo, dev, migrate, keys, accounts, intents and invariants."""
