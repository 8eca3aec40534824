"""The status changes that a job's timeline contains."""

from core.jobs.job import JobState, PublicStatus
from core.jobs.timeline import StatusChange, TimelineEntry, TimelineKind, status_changes
from tests.support.records import NOW, at

S, P = JobState, PublicStatus


def entry(
    state: JobState,
    status: PublicStatus | None = None,
    note: TimelineKind = TimelineKind.TRANSITION,
    second: int = 0,
) -> TimelineEntry:
    return TimelineEntry(at(second), note, "x", state, status=status)


def test_each_change_of_status_is_one_milestone_by_its_place() -> None:
    timeline = [
        entry(S.QUEUED),
        entry(S.SUBMITTING),
        entry(S.RUNNING, P.IN_QUEUE),
        entry(S.RUNNING, P.IN_PROGRESS, second=3),
        entry(S.COLLECTING),
        entry(S.SUCCEEDED, second=5),
        entry(S.SUCCEEDED, note=TimelineKind.UPSTREAM),
    ]

    assert status_changes(timeline) == (
        StatusChange(0, NOW, P.IN_QUEUE),
        StatusChange(3, at(3), P.IN_PROGRESS),
        StatusChange(5, at(5), P.COMPLETED),
    )


def test_a_job_that_goes_back_into_the_queue_is_told_of_again() -> None:
    timeline = [entry(S.QUEUED), entry(S.RUNNING, P.IN_PROGRESS), entry(S.RUNNING, P.IN_QUEUE)]

    assert [stone.status for stone in status_changes(timeline)] == [
        P.IN_QUEUE,
        P.IN_PROGRESS,
        P.IN_QUEUE,
    ]


def test_a_callback_that_was_recorded_late_changes_nothing() -> None:
    timeline = [
        entry(S.QUEUED),
        entry(S.SUCCEEDED),
        entry(S.RUNNING, P.IN_PROGRESS, TimelineKind.DELIVERY),
    ]

    assert [stone.position for stone in status_changes(timeline)] == [0, 1]


def test_entries_of_older_gateways_say_it_by_their_state() -> None:
    assert [stone.status for stone in status_changes([entry(S.RUNNING)])] == [P.IN_PROGRESS]


def test_no_timeline_has_no_milestones() -> None:
    assert status_changes(()) == ()
