"""The engine: one thread owns MLX and decodes every request of every adapter in one batch.

`requests` are the values that cross the border, `engine.Engine` is the door. Knows nothing of HTTP.
"""
