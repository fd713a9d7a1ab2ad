"""The days that quotas are counted by: those of UTC."""

from datetime import datetime, timedelta, timezone


def today() -> str:
    """As 2026-01-31."""
    return datetime.now(timezone.utc).date().isoformat()


def yesterday() -> str:
    return (datetime.now(timezone.utc) - timedelta(days=1)).date().isoformat()


def left_of_day() -> float:
    """Seconds until the next one."""
    now = datetime.now(timezone.utc)
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (tomorrow - now).total_seconds()
