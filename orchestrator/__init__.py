"""The saga: plans each intent, moves it in the ledger, records it in the database."""
