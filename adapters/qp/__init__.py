"""QP, a Russian provider: top-ups through SBP; `link` reads and writes the payment links of the scheme."""
