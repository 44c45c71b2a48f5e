"""The benchmark: one canonical workload through the real mesh, beside a bare version of the same pipeline.

Nothing in here is part of the product; nothing of the product may import it.
"""
