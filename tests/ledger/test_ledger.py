import json
import math
import shutil
import time

import dp_accounting as dp
import pytest

from privagams import home
from privagams.errors import BudgetError, ExitCode, LedgerError, StageError
from privagams.ledger.chain import Head
from privagams.ledger.events import EventError, spending
from privagams.ledger.ledger import Ledger
from privagams.ledger.prices import Prices

DELTA = 1e-5
ONE = dp.GaussianDpEvent(2.0)


def test_a_block_counts_from_its_reservation_on(ledger, open_account):
    account = open_account()
    block = account.reserve(ONE, 10)
    reserved = ledger.total(DELTA).epsilon
    account.close(block, "c" * 64)
    assert reserved == ledger.total(DELTA).epsilon > 0
    assert ledger.spent("fit-1") == [ONE]


def test_a_block_that_was_never_closed_counts_in_full_after_a_restart(ledger, open_account):
    first = open_account()
    first.close(first.reserve(ONE, 10), "a")
    first.reserve(ONE, 10)
    again = open_account()
    assert again.spent() == [ONE, ONE]
    assert [block.checkpoint for block in again.blocks()] == ["a", None]


def test_spent_is_told_apart_by_fit_and_total_is_not(ledger, open_account):
    open_account().reserve(ONE, 1)
    alone = ledger.total(DELTA).epsilon
    open_account(fit="fit-2", release="other").reserve(ONE, 1)
    assert len(ledger.spent("fit-2")) == 1
    assert len(ledger.spent()) == 2
    assert ledger.total(DELTA).epsilon > alone


def test_total_is_that_of_the_worst_off_patient(ledger, open_account, patients, quick_prices):
    def cost(noises):
        return quick_prices.of(spending(dp.GaussianDpEvent(noise) for noise in noises), DELTA).epsilon

    for number, (chosen, noise) in enumerate(
        [(patients[:10], 3.0), (patients[10:], 2.0), (patients[5:15], 4.0)]
    ):
        open_account(fit=str(number), patients=chosen).reserve(dp.GaussianDpEvent(noise), 1)
    assert ledger.total(DELTA).epsilon == pytest.approx(max(cost([3, 4]), cost([2, 4])))
    assert ledger.total(DELTA).epsilon < cost([3, 2, 4])


def test_a_total_can_leave_out_a_run_or_other_patients(ledger, open_account, patients):
    open_account(run="one").reserve(ONE, 1)
    alone = ledger.total(DELTA).epsilon
    open_account(run="two", fit="fit-2", patients=patients[:3]).reserve(ONE, 1)
    assert ledger.total(DELTA).epsilon > alone
    assert ledger.total(DELTA, without_run="two").epsilon == alone
    assert ledger.total(DELTA, among=patients[3:]).epsilon == alone


def test_would_total_says_what_a_plan_would_lead_to_and_spends_nothing(ledger, open_account, patients):
    foreseen = ledger.would_total([(patients, [ONE, ONE])], DELTA)
    assert ledger.total(DELTA).epsilon == 0
    open_account().reserve(dp.SelfComposedDpEvent(ONE, 2), 1)
    assert ledger.total(DELTA) == foreseen


def test_the_total_is_priced_by_the_accountants_unless_told_otherwise(tmp_path, open_account, ledger):
    open_account().reserve(dp.GaussianDpEvent(3.731), 1)
    total = Ledger(ledger.folder).total(1e-5)
    assert total.epsilon == pytest.approx(1, abs=2e-3)
    assert total.replace_one_epsilon == pytest.approx(2.154, abs=2e-3)


def test_the_budget_refuses_before_anything_is_written(ledger, open_account, limit):
    account = open_account(budget=limit(3.0, DELTA))
    account.reserve(ONE, 1)
    before = ledger.path.read_bytes()
    with pytest.raises(BudgetError, match="budget: at most ε = 3") as caught:
        account.reserve(ONE, 1)
    assert caught.value.exit_code is ExitCode.REFUSED
    assert ledger.path.read_bytes() == before


def test_a_plan_beyond_the_budget_is_refused_before_its_first_block(ledger, open_account, limit):
    account = open_account(budget=limit(3.0, DELTA))
    with pytest.raises(BudgetError):
        account.plan(dp.SelfComposedDpEvent(ONE, 2))
    assert ledger.books() is None


def test_blocks_within_a_plan_are_priced_once(tmp_path, quick_prices, patients, limit):
    prices = []

    def counted(spent, delta):
        prices.append(dict(spent))
        return quick_prices.of(spent, delta).epsilon, "quick"

    account = Ledger(tmp_path / "set", Prices(counted)).account(
        run="r", release="d", fit="f", patients=patients, budget=limit(50, DELTA), run_folder=tmp_path / "r"
    )
    account.plan(dp.SelfComposedDpEvent(ONE, 5))
    for _ in range(5):
        account.close(account.reserve(ONE, 1), "x")
    assert len([spent for spent in prices if spent]) == 1
    account.reserve(ONE, 1)
    assert max(sum(spent.values()) for spent in prices) == 6


def test_a_fit_that_stays_within_its_plan_sees_what_others_spent_meanwhile(open_account, limit):
    account = open_account(budget=limit(4.0, DELTA))
    account.plan(dp.SelfComposedDpEvent(ONE, 2))
    account.reserve(ONE, 1)
    open_account(fit="fit-2").reserve(ONE, 1)
    with pytest.raises(BudgetError):
        account.reserve(ONE, 1)


def test_patients_who_are_not_part_of_a_release_do_not_stop_it(ledger, open_account, patients, limit):
    ledger.charge_unprotected(run="r", release="raw", patients=patients[:5], who="steward", run_folder=None)
    assert ledger.total(DELTA).epsilon == math.inf
    open_account(patients=patients[5:], budget=limit(3.0, DELTA)).reserve(ONE, 1)
    with pytest.raises(BudgetError):
        open_account(patients=patients[4:], budget=limit(3.0, DELTA)).reserve(dp.GaussianDpEvent(100), 1)


@pytest.mark.parametrize("noise", [0, -1, math.nan, math.inf])
def test_senseless_noise_is_refused_and_nothing_is_written(ledger, open_account, noise):
    with pytest.raises(EventError):
        open_account().reserve(dp.GaussianDpEvent(noise), 1)
    assert ledger.books() is None


def test_less_than_one_step_is_refused(open_account):
    with pytest.raises(ValueError, match="at least 1 step"):
        open_account().reserve(ONE, 0)


def test_plain_names_of_patients_are_refused(open_account):
    with pytest.raises(LedgerError, match="pseudonyms") as caught:
        open_account(patients=["Jane Doe"])
    assert "Jane" not in str(caught.value)
    with pytest.raises(LedgerError, match="at least one patient"):
        open_account(patients=[])


def test_a_block_is_closed_once_and_by_its_own_fit(open_account):
    account = open_account()
    block = account.reserve(ONE, 1)
    with pytest.raises(LedgerError, match="found none"):
        open_account(fit="fit-2").close(block, "x")
    account.close(block, "x")
    with pytest.raises(LedgerError, match="closed one"):
        account.close(block, "y")


def test_a_set_of_patients_is_written_once(ledger, open_account, patients):
    for number in range(3):
        open_account(fit=str(number)).reserve(ONE, 1)
    text = ledger.path.read_text()
    assert text.count(patients[0]) == 1
    records = [json.loads(line)["record"] for line in text.splitlines()]
    assert [record["kind"] for record in records] == ["open", "patients", "reserve", "reserve", "reserve"]


def test_the_ledger_is_for_its_owner_only(ledger, open_account):
    open_account().reserve(ONE, 1)
    assert ledger.path.stat().st_mode & 0o077 == 0
    assert ledger.folder.stat().st_mode & 0o077 == 0


def test_a_checkpoint_head_is_accepted_as_long_as_the_ledger_continues_it(open_account):
    account = open_account()
    head = account.close(account.reserve(ONE, 1), "x")
    account.reserve(ONE, 1)
    account.check(Head.parse(str(head)))
    with pytest.raises(LedgerError, match="older state"):
        account.check(Head(head.seq + 5, head.hash))
    with pytest.raises(LedgerError, match="replaced"):
        account.check(Head(head.seq, "0" * 64))


def test_an_old_ledger_put_back_is_refused(ledger, open_account, tmp_path):
    account = open_account()
    account.reserve(ONE, 1)
    old = tmp_path / "old"
    shutil.copytree(ledger.folder, old)
    account.reserve(ONE, 1)
    shutil.rmtree(ledger.folder)
    shutil.copytree(old, ledger.folder)
    with pytest.raises(LedgerError, match="older state"):
        open_account().reserve(ONE, 1)
    sibling = tmp_path / "runs" / "two"
    with pytest.raises(LedgerError, match="older state"):
        open_account(run_folder=sibling).reserve(ONE, 1)


def test_a_ledger_put_back_alone_is_noticed_without_any_run_folder(ledger, open_account, tmp_path):
    account = open_account()
    account.reserve(ONE, 1)
    old = ledger.path.read_bytes()
    account.reserve(ONE, 1)
    shutil.rmtree(tmp_path / "runs")
    ledger.path.write_bytes(old)
    with pytest.raises(LedgerError, match="older state"):
        ledger.total(DELTA)


def test_a_run_elsewhere_is_remembered_by_the_ledgers_folder(ledger, open_account, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "run"
    open_account(run_folder=elsewhere).reserve(ONE, 1)
    (ledger.folder / "ledger-head.json").unlink()
    ledger.path.write_text("")
    with pytest.raises(LedgerError, match="elsewhere"):
        ledger.total(DELTA)
    shutil.rmtree(elsewhere)
    assert ledger.total(DELTA).epsilon == 0


def test_a_missing_ledger_is_refused_where_a_run_remembers_one(ledger, open_account, tmp_path):
    open_account().reserve(ONE, 1)
    shutil.rmtree(ledger.folder)
    with pytest.raises(LedgerError, match="no records"):
        ledger.books(tmp_path / "runs" / "two")
    with pytest.raises(LedgerError, match="no records"):
        open_account().reserve(ONE, 1)


def test_a_forked_ledger_is_refused(ledger, open_account, tmp_path):
    account = open_account()
    account.reserve(ONE, 1)
    fork = tmp_path / "fork" / ledger.folder.name
    shutil.copytree(ledger.folder, fork)
    account.reserve(ONE, 1)
    (fork / "runs.json").unlink()
    Ledger(fork).account(
        run="b",
        release="b",
        fit="b",
        patients=sorted(account.patients),
        budget=None,
        run_folder=tmp_path / "b" / "b",
    ).reserve(dp.GaussianDpEvent(9), 1)
    ledger.path.write_bytes((fork / "ledger.jsonl").read_bytes())
    with pytest.raises(LedgerError, match="replaced"):
        open_account().reserve(ONE, 1)


def test_another_key_beside_the_ledger_is_refused(ledger, open_account):
    open_account().reserve(ONE, 1)
    (ledger.folder / "key").write_bytes(b"x" * 32)
    with pytest.raises(LedgerError, match="another one"):
        ledger.total(DELTA)


def test_a_ledger_under_another_name_is_refused(ledger, open_account):
    open_account().reserve(ONE, 1)
    renamed = ledger.folder.with_name("other")
    ledger.folder.rename(renamed)
    with pytest.raises(LedgerError, match="breast-2026"):
        Ledger(renamed).total(DELTA)


def test_a_damaged_head_is_refused(ledger, open_account, tmp_path):
    open_account().reserve(ONE, 1)
    (tmp_path / "runs" / "one" / "ledger-head.json").write_text("{")
    with pytest.raises(LedgerError, match="damaged"):
        ledger.total(DELTA)


def test_a_full_disk_stops_before_anything_runs_and_loses_nothing(ledger, open_account, monkeypatch):
    account = open_account()
    account.reserve(ONE, 1)
    before = ledger.total(DELTA).epsilon
    real = __import__("os").write

    def half(descriptor, content):
        real(descriptor, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("privagams.ledger.chain.os.write", half)
        with pytest.raises(StageError, match="No space left"):
            account.reserve(ONE, 1)
    assert ledger.total(DELTA).epsilon == before
    account.reserve(ONE, 1)
    assert [note["kind"] for note in ledger.books().notes] == ["repair"]
    assert len(ledger.spent()) == 2


def test_the_summary_says_in_words_who_spent_and_decided_what(ledger, open_account, patients, tmp_path):
    account = open_account()
    account.close(account.reserve(ONE, 10), "x")
    account.reserve(ONE, 10)
    note = {"run": "one", "who": "steward", "report": "f" * 64, "run_folder": None}
    ledger.record_approval(release="dp", **note)
    ledger.record_refusal(release="dp", **{**note, "who": "gate"})
    ledger.charge_unprotected(run="one", release="raw", patients=patients[:3], who="steward", run_folder=None)
    rows = {row.text: row for row in ledger.summary(DELTA)}
    (spent,) = [row for text, row in rows.items() if text.startswith("noisy steps: 20, in blocks: 2")]
    assert "20 patients" in spent.text
    assert "1 of the blocks not closed" in spent.text
    assert spent.epsilon > 0
    assert any(text.startswith("approved by steward upon report ffffffffffff") for text in rows)
    assert any(text.startswith("refused by gate") for text in rows)
    (raw,) = [row for row in rows.values() if row.release == "raw"]
    assert raw.epsilon == math.inf


def test_a_ledger_of_a_thousand_records_is_verified_quickly(ledger, open_account):
    from privagams.ledger.chain import append_records, read_chain

    account = open_account()
    account.reserve(ONE, 1)
    record = read_chain(ledger.path).records[-1]
    append_records(ledger.path, read_chain(ledger.path), [record] * 1000)
    start = time.process_time()
    assert len(read_chain(ledger.path).records) == 1003
    # 0.01 s measured; the bound only catches a change of order.
    assert time.process_time() - start < 0.5


def test_asking_creates_nothing(tmp_path):
    ledger = Ledger(tmp_path / "set")
    assert ledger.total(DELTA).epsilon == 0
    assert ledger.summary(DELTA) == []
    assert not ledger.folder.exists()
    assert home.dataset_folder("set").name == "set"
