"""Settings of Hypothesis for this tier."""

from hypothesis import HealthCheck, settings

# A property holds on a busy machine too: these tests are not about how long an example takes.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
