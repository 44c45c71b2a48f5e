"""Rules: fees, limits, velocity and routes, changed while the mesh runs, and what they say of an intent."""
