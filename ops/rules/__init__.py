"""Change control of rules: files that people write, what is wrong with them, what they would change, and the change."""
