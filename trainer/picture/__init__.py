"""The picture of a run: its path on planes that are refitted as it goes, and the true loss around it.

Costs training nothing but a bounded share of its time and leaves no trace in it; see `live`, `later`, `painter`.
"""
