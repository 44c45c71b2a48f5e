"""Reconciliation as people work with it: breaks read, closed with a reason, and written off by two."""
