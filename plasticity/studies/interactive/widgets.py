"""The playground's controls: a thin layer of ipywidgets over `playground`.

One background thread does the work, so that the page never freezes; widgets are written by the kernel's own thread alone.
"""

import asyncio
import base64
import html
import io
import threading
import time
from dataclasses import asdict
from functools import partial

import ipywidgets as widgets
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure

from ...analysis import figures
from ...data import TITLES
from ...networks.table import architecture
from ...profiles import Profile
from ...reinit import CONTROLS, METHODS, READINGS, SCOPES, UTILITIES, Case
from ...run import Run
from ...running.engine import Place
from . import playground

QUIET = 0.3  # seconds without another change before a choice is looked at
BETWEEN = 0.5  # seconds between two pictures of the curves, at least
AS_WRITTEN = ("as written below", "")
EXAMPLES = "For example: 10MN, 2.5N, base, scratch, 10M + ema, shrink_perturb(keep=0.8), 5M + l2_sp(strength=0.01)"
_open: list["Playground"] = []


def attended() -> bool:
    """Whether somebody can use controls: such a front end lets the kernel ask its user questions, and papermill, nbconvert and
    whatever else runs notebooks by nbclient does not."""
    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))


def show(profile: Profile, place: Place, run: Run | None = None) -> "Playground | None":
    """Display the controls, beginning with ``run`` (see `playground.choose`); without a front end, a line that says where they are."""
    if not attended():
        print("Here are the controls when this notebook is open in JupyterLab (make lab).")
        return None
    while _open:
        _open.pop().close()
    _open.append(Playground(profile, place, run))
    display(_open[0].panel)
    return _open[0]


class Latest:
    """A thread that does the last job it was asked for, as soon as nothing newer has come for a while. Jobs must not raise."""

    def __init__(self):
        self.changed, self.job, self.due, self.busy, self.closed = threading.Condition(), None, 0.0, False, False
        self.thread = threading.Thread(target=self._work, daemon=True, name="playground")
        self.thread.start()

    def ask(self, job, quiet: float) -> None:
        """Do ``job`` in ``quiet`` seconds, unless another one is asked for before."""
        with self.changed:
            self.job, self.due = job, time.monotonic() + quiet
            self.changed.notify_all()

    def _work(self):
        while (job := self._next()) is not None:
            job()
            with self.changed:
                self.busy = False
                self.changed.notify_all()

    def _next(self):
        with self.changed:
            while not self.closed:
                left = self.due - time.monotonic() if self.job else None
                if left is not None and left <= 0:
                    job, self.job, self.busy = self.job, None, True
                    return job
                self.changed.wait(left)
        return None

    def settle(self, seconds: float) -> bool:
        """Wait until there is nothing left to do; False if that took longer."""
        with self.changed:
            return self.changed.wait_for(lambda: self.job is None and not self.busy, seconds)

    def close(self) -> None:
        """Begin no other job; the thread ends after the one in progress."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class Playground:
    """The controls, what they show, and the thread that works for them. ``panel`` is the widget to display."""

    def __init__(self, profile: Profile, place: Place, run: Run | None = None):
        self.profile, self.place, self.worker, self.post = profile, place, Latest(), _poster()
        self.looked, self.histories, self.drawn = None, {}, 0.0
        self.racing, self.missed, self.stopping = False, False, threading.Event()
        self.controls = _controls(profile, run or playground.choose(profile))
        self.seeds = widgets.RadioButtons(options=[("1 seed: a first look", 1), ("3 seeds", 3)], description="Repeat")
        self.start = widgets.Button(description="Fine-tune beside base", icon="play", layout={"width": "14em"})
        self.stop = widgets.Button(description="Stop", icon="stop", disabled=True)
        self.error, self.status, self.before, self.curves, self.verdict = (widgets.HTML() for _ in range(5))
        self.panel = self._panel()
        self.start.on_click(self._race_asked)
        self.stop.on_click(lambda _: self.stopping.set())
        for name in ("method", "percent"):
            self.controls[name].observe(self._compose, "value")
        self.controls["case"].observe(self._reflect, "value")
        self._reflect()
        for name, control in self.controls.items():
            if name not in ("method", "percent"):  # these write the case
                control.observe(self._changed, "value")
        self._changed()

    def _panel(self):
        c = self.controls
        left = widgets.VBox([c["network"], c["dataset"], c["seed"], c["scope"], c["utility"], c["reading"]])
        hint = widgets.HTML(f"<small>{html.escape(EXAMPLES)}</small>")
        buttons = widgets.HBox([self.start, self.stop])
        right = widgets.VBox(
            [c["method"], c["percent"], c["case"], hint, self.error, self.seeds, buttons], layout={"width": "30em"}
        )
        controls = widgets.HBox([left, right], layout={"flex_flow": "row wrap"})
        return widgets.VBox([controls, self.status, self.verdict, self.curves, self.before])

    # The controls.
    def run(self) -> Run:
        """What is chosen. Raises ValueError that says what is allowed."""
        return playground.choose(
            self.profile,
            **{name: control.value for name, control in self.controls.items() if name not in ("method", "percent")},
        )

    def _compose(self, _):
        """Method and share, as the case's text."""
        method, percent = (self.controls[name] for name in ("method", "percent"))
        percent.disabled = method.value not in METHODS
        if method.value:
            self.controls["case"].value = (
                f"{percent.value:g}{method.value}" if method.value in METHODS else method.value
            )

    def _reflect(self, _=None):
        """The case's text, as method and share where these can say it."""
        method, percent = (self.controls[name] for name in ("method", "percent"))
        try:
            case = Case.parse(self.controls["case"].value)
        except ValueError:
            method.value = ""
            return
        share = 100 * (case.fraction or 0)
        if case.method in METHODS and not (percent.min <= share <= percent.max and (2 * share).is_integer()):
            method.value = ""
        elif case.method in METHODS:
            method.value = ""  # a new share alone must not be written with the old method
            percent.value, method.value = share, case.method
        else:
            method.value = case.method

    def _changed(self, _=None):
        self.missed = self.racing
        if not self.racing:
            self.worker.ask(self._look, QUIET)

    def _locked(self, racing: bool):
        self.racing = racing
        for control in (*self.controls.values(), self.seeds, self.start):
            control.disabled = racing
        self.stop.disabled = not racing
        self.controls["percent"].disabled = racing or self.controls["method"].value not in METHODS
        if self.missed and not racing:
            self._changed()

    # The work, in the thread.
    def _say(self, text: str):
        self.post(
            partial(setattr, self.status, "value", f'<div role="status" aria-live="polite">{html.escape(text)}</div>')
        )

    def _complain(self, error: Exception | None):
        text = f"{type(error).__name__}: {error}" if error and not isinstance(error, ValueError) else str(error or "")
        shown = f'<div role="alert"><b>Not possible:</b> {html.escape(text)}</div>' if error else ""
        self.post(partial(setattr, self.error, "value", shown))

    def _look(self) -> bool:
        """Show what the choice does before training, unless that is what is shown; False if it can't be done."""
        try:
            run = self.run()
            if run != self.looked:
                self._say(f"{_words(run)}: preparing; a network that has to be pretrained first takes a while.")
                playground.ready(run, self.place)
                seen = playground.look(run, self.place)
                self.post(partial(self._show_look, seen))
                self.looked = run
        except Exception as error:  # whatever it is, the reader gets to see it: a thread has no other way to say so
            self._complain(error)
            self._say("Nothing was done; the pictures are of the choice before.")
            return False
        self._complain(None)
        seconds = self.profile.seconds_a_run
        self._say(f"{_words(run)}." + (f" Fine-tuning takes about {seconds:g} s a run." if seconds else ""))
        return True

    def _show_look(self, seen: playground.Look):
        case = seen.run.case
        shown = f"<h3>{html.escape(case)}, before any training</h3>{playground.changes(seen).to_html()}"
        for figure, says in (
            (playground.output_change(seen), "Outputs on test images before and after; the table has the numbers"),
            (
                figures.weights_before_after(seen.before.weights, seen.after.weights, case),
                "Histogram of all weights before and after",
            ),
            (figures.resets_by_layer({case: seen.rows}), "Share of each weight tensor that was reset"),
        ):
            shown += picture(figure, f"{says}, {case}")
            self.before.value = shown

    def _race_asked(self, _):
        if not self.racing:
            self.stopping.clear()
            self._locked(True)
            self.worker.ask(self._race, 0)

    def _race(self):
        try:
            if self._look():
                self._race_of(playground.pairs(self.run(), self.seeds.value))
        except playground.Stopped as stopped:
            self._say(f"{str(stopped).capitalize()}.")
        except Exception as error:  # as in _look
            self._complain(error)
        self.post(partial(self._locked, False))

    def _race_of(self, runs: list[Run]):
        self.histories = {}
        self.post(partial(setattr, self.verdict, "value", ""))
        self._say(
            f"Fine-tuning {len(runs)} runs, base first; the curves grow by epochs. Stop ends it after the epoch in progress."
        )
        started = time.monotonic()
        try:
            done = playground.race(runs, self.place, self._epoch, self.stopping.is_set)
        finally:
            self.post(partial(self._show_curves, playground.histories(self.histories)))
        self.post(
            partial(
                setattr, self.verdict, "value", f'<p role="status"><b>{html.escape(playground.verdict(done))}</b></p>'
            )
        )
        self._say(
            f"Done: {len(done)} runs in {time.monotonic() - started:.0f} s; recorded ones were taken as they are."
        )

    def _epoch(self, run: Run, history: list[dict]):
        self.histories[run] = history
        if time.monotonic() - self.drawn >= BETWEEN:  # a picture takes longer than a miniature's epoch
            self.drawn = time.monotonic() + 3600  # until this one is drawn
            self.post(partial(self._show_curves, playground.histories(self.histories)))

    def _show_curves(self, frame):
        self.curves.value = picture(
            playground.curves(frame), "Training loss and validation accuracy by epoch, base and the case"
        )
        self.drawn = time.monotonic()

    def settle(self, seconds: float = 60.0) -> bool:
        """Wait until all that was asked for is done; False if that took longer."""
        return self.worker.settle(seconds)

    def close(self) -> None:
        """Stop whatever runs, after its epoch, and take the controls away."""
        self.stopping.set()
        self.worker.close()
        self.post = lambda _: None
        for widget in _all_of(self.panel):
            widget.close()


def picture(figure: Figure, says: str) -> str:
    """A figure as an HTML image with a text for those who can't see it."""
    content = io.BytesIO()
    with figures.style():
        figure.savefig(content, format="png", dpi=100)
    code = base64.b64encode(content.getvalue()).decode()
    return f'<p><img alt="{html.escape(says)}" src="data:image/png;base64,{code}" style="max-width: 100%"></p>'


def _controls(profile: Profile, run: Run) -> dict[str, widgets.Widget]:
    named = {"style": {"description_width": "6em"}, "layout": {"width": "26em"}}
    methods = [AS_WRITTEN, *((f"{name}: {says}", name) for name, says in (METHODS | CONTROLS).items())]
    choose = {
        "network": [(architecture(name).title, name) for name in profile.architectures],
        "dataset": [(TITLES[name], name) for name in profile.datasets],
        "scope": SCOPES,
        "utility": UTILITIES,
        "reading": READINGS,
    }
    now = asdict(run) | {"network": run.architecture}
    controls = {
        name: widgets.Dropdown(options=options, value=now[name], description=name.capitalize(), **named)
        for name, options in choose.items()
    }
    controls["dataset"].description = "Data set"
    return controls | {
        "seed": widgets.BoundedIntText(value=run.seed, min=0, max=9999, description="Seed", **named),
        "method": widgets.Dropdown(options=methods, value="", description="Method", **named),
        "percent": widgets.FloatSlider(
            value=25, min=0.5, max=50, step=0.5, description="Share (%)", readout_format=".1f", **named
        ),
        "case": widgets.Text(value=run.case, description="Case", **named),
    }


def _words(run: Run) -> str:
    return f"{architecture(run.architecture).title}, {TITLES[run.dataset]}, {run.case}, seed {run.seed}"


def _poster():
    """How the thread gets something done by the kernel's own thread; without a kernel, it does it itself."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        return lambda job: job()


def _all_of(widget) -> list[widgets.Widget]:
    return [inner for child in getattr(widget, "children", ()) for inner in _all_of(child)] + [widget]
