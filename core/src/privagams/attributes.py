"""What counts as one value of a patient's attribute, for attacks that guess it and for the judge alike."""

from __future__ import annotations

import math

AGE_GROUP_YEARS = 20


def age_group(value: str) -> str:
    """Turn 63 and 63.5 into 60-79; text that is no number, such as a group already, stays."""
    try:
        years = float(value)
    except ValueError:
        return value
    if not math.isfinite(years):
        return ""
    least = int(years // AGE_GROUP_YEARS) * AGE_GROUP_YEARS
    return f"{least}-{least + AGE_GROUP_YEARS - 1}"
