"""What holds for every test: examples are drawn alike everywhere, and none fails because a machine is slow.

Hypothesis begins each test from a seed of the test's own, so that what passes here passes there;
`pytest --hypothesis-profile=default` draws new ones. Mind that it also draws words that it reads in our source.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
