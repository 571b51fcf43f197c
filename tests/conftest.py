"""How the tests run: hypothesis without clocks, so that a busy machine fails nothing, and with examples that repeat."""

from hypothesis import HealthCheck, settings

settings.register_profile("here", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")
