"""The playground's controls: a thin layer of ipywidgets over `playground`.

A changed control shows at once what the choice does before training. `Playground.race` trains, and occupies the cell
that calls it, so that Jupyter's stop button stops it.
"""

import base64
import contextlib
import html
import io
import time
from collections.abc import Iterator
from dataclasses import asdict

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

BETWEEN = 0.5  # seconds between two pictures of the curves: one takes longer than a miniature's epoch
EXAMPLES = "For example: 10MN, 2.5N, base, scratch, 10M + ema, shrink_perturb(keep=0.8), 5M + l2_sp(strength=0.01)"
NAMED = {"style": {"description_width": "6em"}, "layout": {"width": "26em"}}


def attended() -> bool:
    """Whether somebody can use controls: such a front end lets the kernel ask its user questions, and what runs
    notebooks by nbclient, as papermill does, does not."""
    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))


def show(profile: Profile, place: Place, run: Run | None = None) -> "Playground | None":
    """Display the controls, beginning with ``run``, or the profile's own choice; without a front end, say where they
    are."""
    if not attended():
        print("Here are the controls when this notebook is open in JupyterLab (make lab).")
        return None
    controls = Playground(profile, place, run)
    display(controls.panel)
    return controls


class Playground:
    """The controls and what they show; ``panel`` is the widget to display."""

    def __init__(self, profile: Profile, place: Place, run: Run | None = None):
        self.profile, self.place, self.looked = profile, place, None
        self.controls = _controls(profile, run or playground.choose(profile))
        self.seeds = widgets.RadioButtons(options=[("1 seed: a first look", 1), ("3 seeds", 3)], description="Repeat")
        self.error, self.status, self.before, self.curves = (widgets.HTML() for _ in range(4))
        self.panel = self._panel()
        for name, control in self.controls.items():
            control.observe(self._compose if name in ("method", "percent") else self._changed, "value")
        self._reflect()
        self._changed()

    def _panel(self) -> widgets.Widget:
        c, hint = self.controls, widgets.HTML(f"<small>{html.escape(EXAMPLES)}</small>")
        left = widgets.VBox([c[name] for name in ("network", "dataset", "seed", "scope", "utility", "reading")])
        right = [c["method"], c["percent"], c["case"], hint, self.error, self.seeds]
        both = widgets.HBox([left, widgets.VBox(right, layout={"width": "30em"})], layout={"flex_flow": "row wrap"})
        return widgets.VBox([both, self.status, self.before])

    def run(self) -> Run:
        """What is chosen. Raises ValueError that says what is allowed."""
        chosen = {name: control.value for name, control in self.controls.items() if name not in ("method", "percent")}
        return playground.choose(self.profile, **chosen)

    def _compose(self, _):
        """Method and share, as the case's text."""
        method, percent = self.controls["method"].value, self.controls["percent"]
        percent.disabled = method not in METHODS
        if method:
            self.controls["case"].value = f"{percent.value:g}{method}" if method in METHODS else method

    def _reflect(self):
        """The case's text, as method and share where these can say it."""
        method, percent = self.controls["method"], self.controls["percent"]
        method.value = ""  # a new share alone must not be written with the old method
        with contextlib.suppress(ValueError):  # several methods, or none that there is
            case = Case.parse(self.controls["case"].value)
            share = 100 * (case.fraction or 0)
            if case.method not in METHODS:
                method.value = case.method
            elif percent.min <= share <= percent.max and (2 * share).is_integer():
                percent.value, method.value = share, case.method
        percent.disabled = method.value not in METHODS

    def _changed(self, change=None):
        if change and change.owner is self.controls["case"]:
            self._reflect()
        try:
            self.look()
            self.error.value = ""
        except Exception as error:  # whatever it is, the reader gets to see it: a control has no other way to say so
            text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self.error.value = f'<div role="alert"><b>Not possible:</b> {html.escape(text)}</div>'
            self._say("Nothing was done; the pictures are of the choice before.")

    def _say(self, text: str):
        self.status.value = f'<div role="status" aria-live="polite">{html.escape(text)}</div>'

    def look(self) -> None:
        """Show what the choice does before training, unless that is what is shown. Raises as `playground.look` does."""
        run = self.run()
        words = f"{architecture(run.architecture).title}, {TITLES[run.dataset]}, {run.case}, seed {run.seed}"
        if run != self.looked:
            self._say(f"{words}: preparing; a network that has to be pretrained first takes a while.")
            playground.ready(run, self.place)
            self.before.value, self.looked = _pictures(playground.look(run, self.place)), run
        seconds = self.profile.seconds_a_run
        self._say(f"{words}." + (f" Fine-tuning takes about {seconds:g} s per run." if seconds else ""))

    def race(self) -> list[dict] | None:
        """Fine-tune the choice beside base, with curves that grow beneath the cell. Returns the records; None if
        stopped.

        Runs that had ended by then are recorded, of the one in progress nothing is kept. Raises as `playground.race`
        does.
        """
        runs, self.curves, histories, drawn = playground.pairs(self.run(), self.seeds.value), widgets.HTML(), {}, 0.0

        def draw():
            self.curves.value = picture(
                playground.curves(playground.histories(histories)), "Training loss and validation accuracy by epoch"
            )

        def epoch(run: Run, history: list[dict]):
            nonlocal drawn
            histories[run] = history
            if time.monotonic() - drawn >= BETWEEN:
                draw()
                drawn = time.monotonic()

        display(self.curves)
        started = time.monotonic()
        with self._locked():
            try:
                playground.ready(runs[0], self.place)
                done = playground.race(runs, self.place, epoch)
            except KeyboardInterrupt:
                print("Stopped: runs that had ended are recorded, of the one in progress nothing is kept.")
                return None
            finally:
                draw()
        print(f"{len(done)} runs in {time.monotonic() - started:.0f} s; recorded ones were taken as they are.")
        print(playground.summary(done))
        return done

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The controls stay as they are while their choice is trained."""
        controls = [*self.controls.values(), self.seeds]
        free = [control for control in controls if not control.disabled]
        for control in free:
            control.disabled = True
        try:
            yield
        finally:
            for control in free:
                control.disabled = False


def _pictures(seen: playground.Look) -> str:
    case = seen.run.case
    shown = {
        "Outputs on test images before and after; the table has the numbers": playground.output_change(seen),
        "Histogram of all weights before and after": figures.weights_before_after(
            seen.before.weights, seen.after.weights, case
        ),
        "Share of each weight tensor that was reset": figures.resets_by_layer({case: seen.rows}),
    }
    images = "".join(picture(figure, f"{says}, {case}") for says, figure in shown.items())
    return f"<h3>{html.escape(case)}, before any training</h3>{playground.changes(seen).to_html()}{images}"


def picture(figure: Figure, says: str) -> str:
    """A figure as an HTML image with a text for those who can't see it."""
    content = io.BytesIO()
    with figures.style():
        figure.savefig(content, format="png", dpi=100)
    code = base64.b64encode(content.getvalue()).decode()
    return f'<p><img alt="{html.escape(says)}" src="data:image/png;base64,{code}" style="max-width: 100%"></p>'


def _controls(profile: Profile, run: Run) -> dict[str, widgets.Widget]:
    choices = {
        "network": [(architecture(name).title, name) for name in profile.architectures],
        "dataset": [(TITLES[name], name) for name in profile.datasets],
        "scope": SCOPES,
        "utility": UTILITIES,
        "reading": READINGS,
        "method": [
            ("as written below", ""),
            *((f"{name}: {says}", name) for name, says in (METHODS | CONTROLS).items()),
        ],
    }
    now = asdict(run) | {"network": run.architecture, "method": ""}
    lists = {name: widgets.Dropdown(options=options, value=now[name], **NAMED) for name, options in choices.items()}
    controls = lists | {
        "seed": widgets.BoundedIntText(value=run.seed, min=0, max=9999, **NAMED),
        "percent": widgets.FloatSlider(
            value=25, min=0.5, max=50, step=0.5, readout_format=".1f", continuous_update=False, **NAMED
        ),
        "case": widgets.Text(value=run.case, continuous_update=False, **NAMED),
    }
    for name, control in controls.items():
        control.description = {"dataset": "Data set", "percent": "Share (%)"}.get(name, name.capitalize())
    return controls
