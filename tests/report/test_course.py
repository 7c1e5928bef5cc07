"""How a training went: told to the steward, and to nobody else."""

import json

import numpy as np
from attrs import evolve

from privagams.report.course_picture import course_picture
from privagams.report.data import Course, CoursePoint
from privagams.report.interface import as_json
from privagams.report.pages import public_page, steward_page
from privagams.report.public import for_public

POINTS = tuple(CoursePoint("warm-up" if n < 3 else "members", 50 * n, 1.0 / n) for n in range(1, 7))
COURSE = Course(POINTS, (150, 300), np.zeros((2, 3, 8, 8, 1), dtype=np.uint8))


def drawing(report, course):
    """The report with the course of its first release of drawn images."""
    first = next(r.name for r in report.releases if r.examples is not None)
    releases = tuple(evolve(r, course=course if r.name == first else None) for r in report.releases)
    return evolve(report, releases=releases)


def test_the_steward_sees_loss_and_images_of_the_way(report):
    page = steward_page(drawing(report, COURSE))
    assert "How its training went" in page
    assert page.count("drawn after 150 steps") == 3
    assert "warm-up, then members" in page
    found = [r["course"] for r in json.loads(as_json(drawing(report, COURSE)))["releases"] if r["course"]]
    assert found == [[{"phase": p.phase, "step": p.step, "loss": p.loss} for p in POINTS]]


def test_without_reference_patients_the_page_says_what_it_would_take(report):
    page = steward_page(drawing(report, Course((), (10,), COURSE.images[:1])))
    assert "[split] reference" in page


def test_the_public_page_says_nothing_of_the_way(report):
    shown = drawing(report, COURSE)
    assert "How its training went" not in public_page(shown, include_figures_from_members=True)
    assert all(r["course"] == [] for r in json.loads(as_json(for_public(shown)))["releases"])


def test_each_phase_has_a_line_of_its_own():
    drawn = course_picture(COURSE)
    assert drawn.count("<polyline") == 2
    assert drawn.count("<circle") == len(POINTS)


def test_a_loss_that_never_changes_is_drawn_level():
    level = course_picture(Course((CoursePoint("members", 1, 0.0), CoursePoint("members", 2, 0.0))))
    assert "nan" not in level


def test_a_loss_that_is_no_number_is_left_out_and_told(report):
    broken = evolve(COURSE, points=(*POINTS, CoursePoint("members", 350, float("nan"))))
    assert "nan" not in course_picture(broken)
    assert "stopped being a number after 350 steps" in steward_page(drawing(report, broken))


def test_looks_that_failed_are_told_and_not_taken_for_missing_reference_patients(report):
    page = steward_page(drawing(report, Course(missed=3)))
    assert "3 looks at it failed" in page
    assert "No loss was followed" not in page
