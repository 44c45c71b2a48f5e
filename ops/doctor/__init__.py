"""`paymesh doctor`: looks at everything that has been known to go wrong, and names the command that mends it."""
