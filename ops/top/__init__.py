"""The mesh at a glance, and a look into its streams, from whichever store answers.

Nothing in here may walk through a whole stream, a whole table or the whole key space: every look is bounded.
"""
