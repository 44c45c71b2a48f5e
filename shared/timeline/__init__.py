"""What one intent can tell: everything that any place knows of it, in the order in which it happened."""
