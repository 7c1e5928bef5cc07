import numpy as np
import pytest

from privagams.access import Scores
from privagams.errors import PluginError
from privagams.judge import aligned


def test_scores_in_an_order_of_their_own_are_put_in_order(make_truth, judged):
    about = make_truth()
    values = np.random.default_rng(1).normal(size=60) + about.member
    shuffle = np.random.default_rng(2).permutation(60)
    asked = judged(values, about)
    own = judged(Scores(values[shuffle], patients=about.patients[shuffle]), about)
    assert own == asked
    assert judged(values[shuffle], about).measurements != asked.measurements


def test_columns_of_scores_for_copies_are_put_in_order(make_truth, judged):
    about = make_truth(copies=True)
    shuffle = np.random.default_rng(2).permutation(60)
    verdict = judged(Scores(np.eye(36, 60)[:, shuffle], patients=about.patients[shuffle]), about, "linkage")
    assert verdict.headline.value == 1


def test_rows_of_scores_for_attributes_are_put_in_order(make_truth, judged):
    sex = np.array(["f", "m"] * 30)
    about = make_truth(attributes={"sex": sex})
    right = np.stack([sex == "f", sex == "m"], axis=1) * 1.0
    shuffle = np.random.default_rng(2).permutation(60)
    scores = Scores(right[shuffle], patients=about.patients[shuffle], attribute="sex", options=("f", "m"))
    found = {m.name: m.value for m in judged(scores, about, "attribute").measurements}
    assert (found["accuracy"], found["control"]) == (1, 1)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda names: np.r_[names[:-2], ["x", "y"]], "2 unknown, 2 missing and 0 given twice"),
        (lambda names: np.r_[names[:-1], names[:1]], "0 unknown, 1 missing and 1 given twice"),
    ],
)
def test_scores_of_other_patients_are_counted_and_nobody_is_named(make_truth, judged, change, counts):
    about = make_truth()
    with pytest.raises(PluginError, match=counts) as caught:
        judged(Scores(np.zeros(60), patients=change(about.patients)), about)
    assert not any(name in str(caught.value) for name in ("p0", "p58", "p59", "'x'"))


def test_names_of_another_length_are_refused(make_truth, judged):
    about = make_truth()
    with pytest.raises(PluginError, match="0 unknown, 10 missing"):
        judged(Scores(np.zeros(60), patients=about.patients[:50]), about)


def test_a_patient_given_twice_beside_all_others_is_refused(make_truth, judged):
    about = make_truth()
    with pytest.raises(PluginError, match="0 unknown, 0 missing and 1 given twice"):
        judged(Scores(np.zeros(60), patients=np.r_[about.patients, about.patients[:1]]), about)


def test_options_must_be_several_and_different(make_truth, judged):
    about = make_truth(attributes={"sex": np.array(["f"] * 60)})
    for options in ((), ("f",), ("f", "f")):
        scores = Scores(np.zeros((60, len(options))), attribute="sex", options=options)
        with pytest.raises(PluginError, match="at least two different options"):
            judged(scores, about, "attribute")


def test_scores_by_image_must_fit_the_images(make_truth, judged, places):
    about = make_truth(4, 2, copies=True, images=places("a", "b", "c"), group_places=places("x", "y"))
    with pytest.raises(PluginError, match=r"scores by image of shape \(2, 3\)"):
        judged(Scores(np.eye(2, 4), by_image=np.zeros((2, 4))), about, "linkage")


def test_values_are_handed_out_in_the_order_of_the_truth(make_truth):
    about = make_truth()
    shuffle = np.random.default_rng(2).permutation(60)
    scores = Scores(np.arange(60.0)[shuffle], patients=about.patients[shuffle])
    assert aligned(scores, about).tolist() == list(range(60))
