"""The curves of a sweep as a picture."""

import re
from xml.etree import ElementTree

import pytest

from privagams.report.curves_of_use import UsePoint, curves_of_use


def point(mechanism, label, x, y, off=0.05):
    return UsePoint(mechanism, label, x, max(0.0, x - off), min(1.0, x + off), y, y - off, y + off)


def outline(path):
    """A marker's shape wherever it stands."""
    if "a" in path:
        return path[path.index("a") :]
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", path)]
    return tuple(round(n - numbers[i % 2]) for i, n in enumerate(numbers))


SWEEP = [
    point("latent-laplace", "ε 4,096", 0.9, 0.80),
    point("latent-laplace", "ε 819", 0.1, 0.60),
    point("latent-laplace", "ε 2,048", 0.5, 0.70),
    point("pixel-laplace", "ε 4,096", 0.95, 0.75),
    point("pixel-laplace", "ε 819", 0.2, 0.55),
    point("raw", "raw", 1.0, 0.85),
]


def drawn(points=SWEEP, **more):
    return ElementTree.fromstring(str(curves_of_use(points, "top-1", "AUC", **more)))


def of_kind(svg, tag):
    return [e for e in svg if e.tag.endswith(tag)]


def lines(svg):
    """Corners of each curve with more than the two points of a legend's sample."""
    found = [e.get("points").split() for e in of_kind(svg, "polyline")]
    return [[tuple(map(float, corner.split(","))) for corner in one] for one in found]


def test_each_mechanism_is_one_curve_in_order_of_linkage():
    longest = max(lines(drawn()), key=len)
    assert len(longest) == 3
    across, up = zip(*longest, strict=True)
    assert list(across) == sorted(across)
    assert list(up) == sorted(up, reverse=True)  # more use is higher in the picture


def test_points_of_equal_linkage_go_on_upwards():
    """A sweep often ends where all are linked, and use still grows."""
    certain = [point("m", str(y), x, y) for x, y in ((1.0, 0.9), (0.5, 0.6), (1.0, 0.7), (1.0, 0.8))]
    longest = max(lines(drawn(certain)), key=len)
    assert [y for _, y in longest] == sorted((y for _, y in longest), reverse=True)


def test_lower_figures_of_use_stand_higher_where_they_are_better():
    up = [y for _, y in max(lines(drawn(better="lower")), key=len)]
    assert up == sorted(up)


def test_curves_differ_in_colour_dashes_and_marker():
    legend = {
        (e.get("stroke"), e.get("stroke-dasharray"))
        for e in of_kind(drawn(), "polyline")
        if len(e.get("points").split()) == 2 and e.get("points").split()[0].endswith(",18.0")
    }
    assert len(legend) == 3
    assert len({colour for colour, _ in legend}) == len({dashes for _, dashes in legend}) == 3
    shapes = {outline(e.get("d")) for e in of_kind(drawn(), "path")}
    assert len(shapes) == 3


def test_every_point_has_its_label_and_every_curve_its_name():
    said = [e.text for e in of_kind(drawn(), "text")]
    for one in SWEEP:
        assert said.count(one.label) == sum(p.label == one.label for p in SWEEP) or one.mechanism == "raw"
        assert one.mechanism in said


def test_labels_do_not_stand_on_each_other():
    crowd = [point("m", f"ε {10**i}", 0.5 + i / 200, 0.7) for i in range(5)]
    labels = [e for e in of_kind(drawn(crowd), "text") if (e.text or "").startswith("ε")]
    boxes = [(float(e.get("x")), float(e.get("y")), 6.3 * len(e.text)) for e in labels]
    for i, (x, y, wide) in enumerate(boxes):
        for other, level, _ in boxes[:i]:
            assert abs(y - level) >= 12 or other >= x + wide - 0.1 or x >= other + 6.3 - 0.1


def test_guessing_is_dashed_on_either_axis():
    assert sum(e.text == "guessing" for e in of_kind(drawn(chance=(0.01, 0.5)), "text")) == 2
    assert not any(e.text == "guessing" for e in of_kind(drawn(), "text"))


def test_all_stays_within_the_picture():
    for x, y in (corner for one in lines(drawn(chance=(0.01, 0.5))) for corner in one):
        assert 0 <= x <= 720
        assert 0 <= y <= 470


def test_names_are_escaped():
    svg = str(curves_of_use([point("<b>", "<i>&", 0.5, 0.5)], "a<b", "c&d"))
    assert "<b>" not in svg
    assert "<i>" not in svg
    ElementTree.fromstring(svg)


def test_no_points_no_picture():
    assert curves_of_use([], "x", "y") == ""


def test_a_figure_that_is_not_finite_is_an_error_that_names_its_point():
    with pytest.raises(ValueError, match="found others at ε 5"):
        curves_of_use([point("m", "ε 5", 0.5, float("nan"))], "x", "y")


def test_equal_figures_still_have_a_frame():
    assert len(drawn([point("m", "a", 0.5, 0.5, off=0.0)])) > 10
