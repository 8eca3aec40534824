"""The windows of a tenant's calendar: months, leap days, and days of 23 and 25 hours."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from core.tenants.windows import (
    UTC_CALENDAR,
    AccountingCalendar,
    Window,
    days_from,
    window_names,
)

ROME = AccountingCalendar("Europe/Rome")
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("calendar", "now", "day", "ends"),
    [
        (UTC_CALENDAR, "2026-12-31 23:59:59.999999", "2026-12-31", "2027-01-01 00:00"),
        (UTC_CALENDAR, "2027-01-01 00:00", "2027-01-01", "2027-01-02 00:00"),
        (UTC_CALENDAR, "2028-02-29 12:00", "2028-02-29", "2028-03-01 00:00"),
        # Rome: UTC+1 in winter, UTC+2 in summer.
        (ROME, "2026-01-14 22:59:59", "2026-01-14", "2026-01-14 23:00"),
        (ROME, "2026-01-14 23:00", "2026-01-15", "2026-01-15 23:00"),
        (ROME, "2026-07-14 22:00", "2026-07-15", "2026-07-15 22:00"),
        (ROME, "2026-03-28 23:00", "2026-03-29", "2026-03-29 22:00"),
        (ROME, "2026-10-24 22:00", "2026-10-25", "2026-10-25 23:00"),
        (ROME, "2026-10-25 22:30", "2026-10-25", "2026-10-25 23:00"),
        # Days that begin at six: the hours before belong to the day before.
        (
            AccountingCalendar("Europe/Rome", 6),
            "2026-07-15 03:59",
            "2026-07-14",
            "2026-07-15 04:00",
        ),
        (
            AccountingCalendar("Europe/Rome", 6),
            "2026-07-15 04:00",
            "2026-07-15",
            "2026-07-16 04:00",
        ),
        # 02:00 does not exist on 29 March, and exists twice on 25 October.
        (
            AccountingCalendar("Europe/Rome", 2),
            "2026-03-29 00:59",
            "2026-03-28",
            "2026-03-29 01:00",
        ),
        (
            AccountingCalendar("Europe/Rome", 2),
            "2026-03-29 01:00",
            "2026-03-29",
            "2026-03-30 00:00",
        ),
        (
            AccountingCalendar("Europe/Rome", 2),
            "2026-10-25 00:00",
            "2026-10-25",
            "2026-10-26 01:00",
        ),
        (
            AccountingCalendar("Europe/Rome", 2),
            "2026-10-25 01:30",
            "2026-10-25",
            "2026-10-26 01:00",
        ),
        # Midnight does not exist on the first day of summer time there.
        (
            AccountingCalendar("America/Santiago"),
            "2026-09-06 03:59",
            "2026-09-05",
            "2026-09-06 04:00",
        ),
        (
            AccountingCalendar("America/Santiago"),
            "2026-09-06 04:00",
            "2026-09-06",
            "2026-09-07 03:00",
        ),
        # Offsets of a half and a quarter of an hour, and of more than half a day.
        (
            AccountingCalendar("Asia/Kathmandu"),
            "2026-05-01 18:14",
            "2026-05-01",
            "2026-05-01 18:15",
        ),
        (
            AccountingCalendar("Australia/Lord_Howe"),
            "2026-04-04 13:00",
            "2026-04-05",
            "2026-04-05 13:30",
        ),
        (
            AccountingCalendar("Pacific/Kiritimati"),
            "2026-12-31 10:00",
            "2027-01-01",
            "2027-01-01 10:00",
        ),
    ],
)
def test_days(calendar: AccountingCalendar, now: str, day: str, ends: str) -> None:
    assert calendar.day_of(at(now)) == date.fromisoformat(day)
    today = calendar.windows_at(at(now))[0]
    assert (today.kind, today.first_day, today.resets_at) == (
        Window.DAY,
        date.fromisoformat(day),
        at(ends),
    )


@pytest.mark.parametrize(
    ("calendar", "now", "week", "month"),
    [
        (UTC_CALENDAR, "2026-11-29 23:59", "2026-11-30 00:00", "2026-12-01 00:00"),
        (UTC_CALENDAR, "2026-02-28 12:00", "2026-03-02 00:00", "2026-03-01 00:00"),
        (UTC_CALENDAR, "2028-02-29 12:00", "2028-03-06 00:00", "2028-03-01 00:00"),
        # The month in which summer time begins ends an hour earlier in UTC than it began.
        (ROME, "2026-02-28 23:00", "2026-03-01 23:00", "2026-03-31 22:00"),
        (ROME, "2026-10-31 22:59", "2026-11-01 23:00", "2026-10-31 23:00"),
        (
            AccountingCalendar("Europe/Rome", 6),
            "2026-10-31 23:30",
            "2026-11-02 05:00",
            "2026-11-01 05:00",
        ),
        (
            AccountingCalendar("Pacific/Auckland"),
            "2026-12-31 10:59",
            "2027-01-03 11:00",
            "2026-12-31 11:00",
        ),
    ],
)
def test_weeks_and_months(calendar: AccountingCalendar, now: str, week: str, month: str) -> None:
    _, this_week, this_month, total = calendar.windows_at(at(now))
    assert (this_week.resets_at, this_month.resets_at) == (at(week), at(month))
    assert (total.first_day, total.resets_at) == (None, None)


@pytest.mark.parametrize(
    "calendar",
    [
        UTC_CALENDAR,
        ROME,
        AccountingCalendar("Europe/Rome", 2),
        AccountingCalendar("America/Santiago"),
        AccountingCalendar("America/New_York", 3),
        AccountingCalendar("Australia/Lord_Howe", 2),
        AccountingCalendar("Asia/Kathmandu", 23),
    ],
    ids=str,
)
def test_every_half_hour_of_a_year_is_in_one_day_and_no_day_goes_back(
    calendar: AccountingCalendar,
) -> None:
    now, before = at("2027-12-30 00:00"), date.min
    while now < at("2029-01-03 00:00"):
        day = calendar.day_of(now)
        assert day >= before
        assert calendar.start_of(day) <= now < calendar.start_of(day + timedelta(days=1))
        now, before = now + HOUR / 2, day


def test_names_of_a_kind_sort_by_time() -> None:
    days = list(days_from(date(2026, 12, 20), date(2027, 2, 3)))
    assert len(days) == 46
    names = [window_names(day) for day in days]
    assert names == sorted(names)
    assert window_names(date(2027, 1, 1)) == ("D20270101", "W20261228", "M20270101", "T")


def test_the_machines_zone_does_not_matter() -> None:
    east = timezone(timedelta(hours=14))
    now = at("2026-12-31 23:59")
    assert ROME.windows_at(now.astimezone(east)) == ROME.windows_at(now)


def test_a_calendar_is_read_from_its_own_text() -> None:
    for calendar in (UTC_CALENDAR, ROME, AccountingCalendar("America/New_York", 3)):
        assert AccountingCalendar.parse(str(calendar)) == calendar
    assert str(UTC_CALENDAR) == ""


@pytest.mark.parametrize(("zone", "hour"), [("Mars/Olympus", 0), ("../etc", 0), ("UTC", 24)])
def test_what_is_no_calendar_is_refused(zone: str, hour: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        AccountingCalendar(zone, hour)
