"""Makes adapters: claims queued runs from the catalog, trains, measures, and promotes what was measured better.

Its own process with its own /metrics; never imports the gateway and never calls it.
"""
