"""The commands of `paymesh`: each parses, builds, calls one async function and prints."""
