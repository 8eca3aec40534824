from datetime import timedelta

from core.retention import RETENTION
from worker.webhooks.retry_schedule import SchedulePolicy


def test_a_result_outlives_the_last_callback_by_a_day() -> None:
    assert timedelta(days=7) == RETENTION
    assert SchedulePolicy().max_duration + timedelta(days=1) < RETENTION
