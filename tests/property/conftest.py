"""Settings of Hypothesis for this tier."""

from hypothesis import HealthCheck, settings

# A property holds on a busy machine too: how long an example takes is not what these tests are about.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
