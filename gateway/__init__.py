"""Answers requests: one OpenAI base URL over an in-process MLX engine, falling back to upstreams.

Never imports the trainer and never calls it: a run is queued in the catalog, an adapter is seen when its alias moves.
"""
