"""Reports: what moved on a business day or in a week, what stands where, and what is still open."""
