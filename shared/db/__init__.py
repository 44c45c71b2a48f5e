"""PostgreSQL: the pool, the migrations, and nothing that knows what a payment is."""
