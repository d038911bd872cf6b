"""The playground: what it shows is what the grid would do, it leaves the grid's records alone, and its controls really
work."""

import os
import queue
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from jupyter_client.manager import start_new_kernel

from plasticity import interventions, train
from plasticity.analysis.frames import histories
from plasticity.profiles import Profile, get_profile, grid
from plasticity.running import records
from plasticity.running.engine import Place
from plasticity.studies.interactive import playground
from plasticity.studies.interactive import widgets as playground_widgets
from plasticity.training import measures
from plasticity.weights import cached_weights, weights_file

SETTINGS = {"batch_size": 8, "max_epochs": 2, "patience": 0, "augment": "flip"}
SETTINGS |= {"lr": 0.01, "optimizer": "sgd", "momentum": 0.9}
BOTH = "mini_simplenet", "mini_resnet"
TINY = Profile(
    "tiny", "for the tests", BOTH, ("photos",), 3, dict.fromkeys(BOTH, SETTINGS), weights="random", seconds_a_run=2.0
)


@pytest.fixture
def place(world, tmp_path):
    place = Place(str(world), str(tmp_path / "results"), 1, "cpu")
    playground.ready(playground.choose(TINY), place)
    return place


def choose(**choices):
    return playground.choose(TINY, **choices)


ENDLESS = replace(TINY, training=dict.fromkeys(BOTH, SETTINGS | {"max_epochs": 10_000}))


# --- choosing ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("profile", ["mini", "imagenet", "paper", "quick", "rehearsal"])
def test_the_defaults_are_runs_of_the_profiles_own_grid(profile):
    protocol = get_profile(profile)
    runs = playground.pairs(playground.choose(protocol))
    assert [run.case for run in runs] == ["base", "25M"] and set(runs) <= set(grid(protocol))


def test_base_beside_another_scope_or_utility_is_still_the_grids():
    protocol = get_profile("mini", reading="text")
    chosen = playground.choose(protocol, "vit", "photos", "10M", scope="global", utility="gradient", seed=1)
    runs = playground.pairs(chosen, 2)
    assert [(run.case, run.seed) for run in runs] == [("base", 1), ("10M", 1), ("base", 2), ("10M", 2)]
    assert {runs[0], runs[2]} <= set(grid(protocol)) and runs[1].scope == "global"
    assert len(playground.pairs(choose(case="base"), 3)) == 3


WRONG = {
    "profile 'tiny' has no architecture 'vit'; it has: mini_simplenet, mini_resnet": {"network": "vit"},
    "profile 'tiny' has no data set 'elpv'; it has: photos": {"dataset": "elpv"},
    "unknown case '10Q'": {"case": "10Q"},
    "changes layers, so that 'random' weights do not fit": {"case": "crelu"},
    "scope='all' is unknown": {"scope": "all"},
    "seed=-1 must be an integer": {"seed": -1},
}


@pytest.mark.parametrize("says", WRONG)
def test_wrong_choices_are_ordinary_errors(says):
    with pytest.raises(ValueError, match=says):
        choose(**WRONG[says])


# --- looking ----------------------------------------------------------------------------------------------------------
class Spy(interventions.Intervention):
    """Another method, and the weights that it leaves to the first step."""

    def __init__(self, run):
        self.inner = run.intervention()
        self.pretrained = self.inner.pretrained

    def prepare(self, model, start):
        rows = self.inner.prepare(model, start)
        self.weights = measures.all_weights(model)
        return rows


@pytest.mark.parametrize(
    "choices",
    [
        {"case": "25N"},
        {"case": "10M", "utility": "gradient", "scope": "global"},
        {"case": "scratch"},
        {"case": "10MN + ema", "reading": "text"},
        {"case": "shrink_perturb(keep=0.5)"},
    ],
)
def test_it_shows_the_very_weights_that_training_would_begin_with(place, choices):
    run, spy = choose(**choices), Spy(choose(**choices))
    seen = playground.look(run, place)
    train.fit(replace(run, max_epochs=1), place.data, "cpu", intervention=spy)
    assert np.array_equal(seen.after.weights, spy.weights)
    assert np.array_equal(seen.before.weights, measures.all_weights(train.build(choose(case="base"), place.data)[0]))


def test_every_reset_is_counted_and_nothing_else_moves(place):
    seen = playground.look(choose(case="25N"), place, images=10)
    # biases of zero stay zero
    assert sum(row["reset"] for row in seen.rows) >= (seen.before.weights != seen.after.weights).sum()
    weights = [row for row in seen.rows if row["kind"] == "weight"]
    assert all(row["reset"] == row["size"] // 4 for row in weights) and seen.images == len(seen.after.logits) == 10
    layers = playground.by_scope(choose(case="25M"), place)
    one, all_of_them = (
        max(row["reset"] / row["size"] for row in layers[f"25M, scope {scope}"] if row["kind"] == "weight")
        for scope in ("tensor", "global")
    )
    assert one <= 0.25 < all_of_them


def test_a_method_without_a_report_is_compared_tensor_by_tensor(place):
    rows = playground.look(choose(case="scratch"), place, images=2).rows
    kept = {row["name"] for row in rows if row["reset"] < row["size"]}
    norms = {row["name"] for row in rows if "bn" in row["name"] or "downsample.1" in row["name"]}
    assert kept == {"fc.weight", "fc.bias"} | norms
    assert all(row["reset"] == 0 for row in playground.look(choose(case="ema"), place, images=2).rows)
    wider = choose(network="simplenet", case="crelu(where=all) + scratch")
    playground.ready(wider, place)
    seen = playground.look(wider, place, images=2)
    assert len(seen.after.weights) != len(seen.before.weights)
    assert np.isfinite(playground.change(seen.before, seen.after)["kl"])


def test_base_moves_nothing(place):
    seen = playground.look(choose(case="base"), place)
    found = playground.change(seen.before, seen.after)
    assert (found["flips"], found["logits"], found["kl"], found["features"]) == (0, 0, 0, 0) and found["spread"] > 0


def state(logits, features):
    return playground.State(np.zeros(3), np.array(logits), np.array(features))


def test_the_change_of_outputs_by_hand():
    before = state([[0.0, 0.0], [2.0, 0.0]], [[3.0, 4.0], [0.0, 1.0]])
    after = state([[0.0, np.log(3)], [3.0, 0.0]], [[3.0, 4.0], [0.0, 2.0]])
    found = playground.change(before, after)
    assert found["flips"] == 0.5 and found["features"] == 0.5 and found["logits"] == pytest.approx((np.log(3) + 1) / 4)
    q = 1 / (1 + np.exp(-2))
    one = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    two = q * np.log(q * (1 + np.exp(-3))) + (1 - q) * (np.log((1 - q) * (1 + np.exp(-3))) + 3)
    assert found["kl"] == pytest.approx((one + two) / 2)
    assert np.isnan(playground.change(before, state(after.logits, [[1.0], [1.0]]))["features"])


def test_the_picture_of_outputs_marks_the_flips_by_shape():
    before = state([[0.0, 1.0], [2.0, 0.0], [3.0, 0.0]], [[1.0], [1.0], [1.0]])
    after = state([[0.0, 5.0], [0.0, 2.0], [np.inf, 0.0]], [[1.5], [2.0], [np.nan]])
    figure = playground.output_change(playground.Look(choose(), before, after, [], 3))
    kept, flipped = figure.axes[0].get_lines()[:2]
    assert len(flipped.get_xdata()) == 2 and len(kept.get_xdata()) == 4 and kept.get_marker() != flipped.get_marker()
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == 2 and "n = 2 images" in figure.axes[1].get_title()
    figure.draw_without_rendering()


# --- racing -----------------------------------------------------------------------------------------------------------
def test_a_race_is_the_grids_training_and_is_recorded_beside_it(place):
    runs, seen = playground.pairs(choose(case="25M")), []
    done = playground.race(runs, place, lambda run, history: seen.append((run.case, len(history))))
    assert seen == [("base", 1), ("base", 2), ("25M", 1), ("25M", 2)]
    assert done[1]["history"] == train.fit(runs[1], place.data, "cpu").history and not place.runs.exists()
    files = {path: path.read_bytes() for path in (place.runs.parent / "playground").rglob("*.json")}
    assert len(files) == 2 and list(playground.plan(runs, place, 2).recorded) == ["playground"] * 2
    seen.clear()
    assert playground.race(runs, place, lambda run, history: seen.append((run.case, len(history)))) == done
    assert seen == [("base", 2), ("25M", 2)] and all(path.read_bytes() == content for path, content in files.items())


def test_the_grids_records_are_taken_unless_they_are_of_other_weights(place):
    base, case = playground.pairs(choose(case="25M"))
    records.save(base, records.from_fitted(train.fit(base, place.data, "cpu")), place.runs)
    columns = {"case": ["base", "25M"], "seed": [0, 0], "recorded": ["grid", ""], "seconds": [0, 2]}
    assert playground.plan([base, case], place, 2).to_dict("list") == columns
    first = playground.race([base, case], place)
    path, _ = weights_file(base.architecture, "random", place.data)
    torch.save({name: value + value.is_floating_point() for name, value in torch.load(path).items()}, path)
    cached_weights.cache_clear()
    assert list(playground.plan([base, case], place).recorded) == ["", ""]
    second = playground.race([base, case], place)
    assert all(a["inputs"] != b["inputs"] for a, b in zip(first, second, strict=True))
    assert len(list((place.runs.parent / "set-aside").rglob("*.json"))) == 1
    assert records.load_run(base, place.runs) == first[0]


def test_a_stopped_race_keeps_whole_runs_only(place):
    runs, seen = playground.pairs(choose(case="25M")), []

    def interrupt(*epoch):
        seen.append(epoch)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        playground.race(runs, place, interrupt)
    assert len(seen) == 3 and list(playground.plan(runs, place).recorded) == ["playground", ""]
    assert playground.race(runs, place)[1]["history"] == train.fit(runs[1], place.data, "cpu").history


def test_a_run_that_diverges_says_so_and_is_not_kept(place):
    runs = [replace(run, lr=1e12) for run in playground.pairs(choose())]
    done = playground.race(runs, place)
    assert {record["status"] for record in done} == {"failed"}
    assert "base failed with seed 0: training loss" in playground.summary(done)
    assert not (place.runs.parent / "playground").exists() and len(histories(done)) == 0


def told(accuracies):
    def record(case, seed, accuracy):
        config = {"architecture": "mini_vit", "dataset": "photos", "case": case, "seed": seed}
        metrics = {"accuracy": accuracy, "test_items": 100}
        return {"config": config, "status": "done", "seconds": 1.0, "metrics": metrics}

    cases = "base", "25M"
    return [
        record(which, seed, value)
        for seed, pair in enumerate(accuracies)
        for which, value in zip(cases, pair, strict=True)
    ]


def test_the_summary_by_hand():
    one = playground.summary(told([(0.5, 0.52)]))
    assert "base 50.00%, 25M 52.00%, a difference of +2.00 points, of which one seed tells nothing." in one
    assert "100 test images alone give one a standard error of 5.0 points" in one
    three = playground.summary(told([(0.5, 0.51), (0.5, 0.53), (0.5, 0.52)]))  # t = 4.303
    assert "+2.00 points (95% interval -0.48 to +4.48, n = 3 pairs). That 25M helps is undecided." in three
    large = playground.summary(told([(0.5, 0.71), (0.5, 0.73), (0.5, 0.72)]))
    assert large.endswith("That 25M helps is supported; if you tried several cases, take it for a hint.")
    assert playground.summary(told([(0.5, 0.5)])[:1]).startswith("Test accuracy of base: 50.00%.")


def test_curves_tell_base_by_more_than_colour():
    rows = [
        {"case": case, "seed": 0, "epoch": epoch, "train_loss": 1 / epoch, "validation_accuracy": epoch / 10}
        for case in ("base", "25M")
        for epoch in (1, 2)
    ]
    for ax, last in zip(playground.curves(pd.DataFrame(rows)).axes, (0.5, 20), strict=True):
        base, case = ax.get_lines()
        assert (base.get_linestyle(), base.get_marker()) != (case.get_linestyle(), case.get_marker())
        assert base.get_ydata()[-1] == pytest.approx(last) and ax.get_title() == "n = 2 runs"
    playground.curves(playground.histories({})).draw_without_rendering()


# --- the controls -----------------------------------------------------------------------------------------------------
@pytest.fixture
def quiet(monkeypatch):
    """Controls that look at nothing."""
    monkeypatch.setattr(playground_widgets.Playground, "look", lambda self: self.run())


def test_a_change_shows_other_pictures_and_a_wrong_case_an_error(place):
    ui = playground_widgets.Playground(TINY, place)
    first = ui.before.value
    assert first.count("<img alt=") == 3 and "25M, before any training" in first and ui.error.value == ""
    ui.controls["case"].value = "25Q"
    assert 'role="alert"' in ui.error.value and "unknown case &#x27;25Q&#x27;" in ui.error.value
    assert ui.before.value == first and "Traceback" not in ui.error.value
    ui.controls["case"].value, ui.controls["network"].value = "10M + ema", "mini_simplenet"
    assert ui.error.value == "" and "10M + ema, before any training" in ui.before.value
    assert "miniature SimpleNet" in ui.status.value and ui.looked.architecture == "mini_simplenet"
    path, _ = weights_file("mini_resnet", "random", ui.place.data)
    path.unlink()
    path.mkdir()
    cached_weights.cache_clear()
    ui.controls["network"].value = "mini_resnet"
    assert "Not possible:</b> IsADirectoryError" in ui.error.value and str(path) in ui.error.value


def test_method_share_and_text_say_the_same(place, quiet):
    ui = playground_widgets.Playground(TINY, place)
    method, percent, case = (ui.controls[name] for name in ("method", "percent", "case"))
    assert (method.value, percent.value) == ("M", 25)
    percent.value = 2.5
    method.value = "NS"
    assert case.value == "2.5NS"
    written = ("", 50)
    said = {
        "50 N": ("N", 50),
        "10M + ema": written,
        "scratch": ("scratch", 50),
        "99M": written,
        "1.3M": written,
        "nonsense": written,
    }
    for text, (name, share) in (said | {"5MN": ("MN", 5)}).items():
        case.value = text
        assert (method.value, percent.value, case.value.replace(" ", "")) == (name, share, text.replace(" ", "")), text
        assert percent.disabled == (name in ("", "scratch"))


def test_every_control_has_a_label_and_begins_with_the_choice(place, quiet):
    chosen = choose(network="mini_simplenet", case="10M + ema", seed=3)
    ui = playground_widgets.Playground(TINY, place, chosen)
    assert all(control.description for control in (*ui.controls.values(), ui.seeds)) and ui.controls["percent"].disabled
    assert ui.run() == chosen and playground_widgets.Playground(TINY, place).run() == choose()


@pytest.mark.slow
def test_fine_tuning_draws_curves_and_ends_in_a_sentence(place, capsys):
    ui = playground_widgets.Playground(TINY, place)
    done = ui.race()
    said = capsys.readouterr().out
    assert 'alt="Training loss' in ui.curves.value and "2 runs in" in said and "one seed tells nothing" in said
    assert done == playground.race(playground.pairs(choose()), place) and not place.runs.exists()
    ui.seeds.value, ui.controls["case"].value = 3, "10N"
    assert len(ui.race()) == 6 and "n = 3 pairs" in capsys.readouterr().out and "10N, before" in ui.before.value
    ui.controls["case"].value = "10Q"
    with pytest.raises(ValueError, match="unknown case"):
        ui.race()
    assert not ui.controls["case"].disabled


@pytest.mark.slow
def test_an_interrupt_ends_the_race_and_leaves_the_controls_usable(place, capsys):
    ui, locked = playground_widgets.Playground(ENDLESS, place), []

    def interrupt():
        time.sleep(2)
        locked.append(ui.controls["case"].disabled)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert ui.race() is None and locked == [True]
    assert "Stopped: runs that had ended" in capsys.readouterr().out and 'alt="Training loss' in ui.curves.value
    assert not ui.controls["case"].disabled and not (place.runs.parent / "playground").exists()
    ui.controls["case"].value = "5N"
    assert "5N, before any training" in ui.before.value


def test_without_a_front_end_there_is_a_line_of_text_and_no_widget(place, capsys):
    assert playground_widgets.show(TINY, place) is None and "JupyterLab" in capsys.readouterr().out


class Kernel:
    """A real kernel, asked as a front end asks it."""

    def __init__(self):
        self.manager, self.client = start_new_kernel()

    def begin(self, code, attended=True):
        return self.client.execute(code, allow_stdin=attended)

    def messages(self, asked):
        """What is published for a request: contents, until the kernel is idle."""
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=60)
            except queue.Empty:
                raise AssertionError(f"no answer to {asked}") from None
            if message["parent_header"].get("msg_id") == asked:
                yield message["content"]
                if message["content"].get("execution_state") == "idle":
                    return

    def shown(self, code, attended=True):
        return str(list(self.messages(self.begin(code, attended))))


@pytest.fixture
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=True)


@pytest.mark.slow
def test_in_a_real_kernel_the_stop_button_ends_the_cell(place, kernel):
    setup = f"""
import sys; sys.path.insert(0, {str(playground.Path(__file__).parent)!r})
from test_playground import ENDLESS, TINY, Place, playground_widgets
place = Place({place.data!r}, {place.results!r}, 1, "cpu")
"""
    shown = kernel.shown(setup + "print(playground_widgets.show(TINY, place))", attended=False)
    assert "JupyterLab" in shown and "widget-view" not in shown
    assert "widget-view+json" in kernel.shown("ui = playground_widgets.show(ENDLESS, place)")
    asked, pictures, said = kernel.begin("print(ui.race())"), 0, ""
    for content in kernel.messages(asked):
        said += content.get("text", "")
        if "Training loss" in str(content.get("data")):
            pictures += 1
            if pictures == 2:  # while it trains
                kernel.manager.interrupt_kernel()
    assert "Stopped: runs that had ended" in said and said.endswith("None\n") and "Traceback" not in said
    assert "one seed tells nothing" in kernel.shown("playground_widgets.show(TINY, place).race()")
