"""`paymesh demo`: a clean mesh, real payments over HTTP, and proof that every one of them did what it should."""
