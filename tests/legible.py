"""That the texts of a figure can be read."""

import itertools

from matplotlib.text import Text

from plasticity.analysis import figures


def boxes_of(figure):
    """(text, its box) of all that is written in a figure."""
    with figures.style():
        figure.draw_without_rendering()
    texts = [text for legend in figure.legends for text in legend.get_texts()] + [figure._supxlabel]
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = (tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
            texts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]


def assert_legible(figure, smallest=7, name=""):
    """No text is cut off, covers another, or is smaller than so many points."""
    boxes, (width, height) = boxes_of(figure), figure.bbox.size
    assert not [t for t, b in boxes if b.x0 < -1 or b.y0 < -1 or b.x1 > width + 1 or b.y1 > height + 1], name
    pairs = itertools.combinations(boxes, 2)
    assert not [(a, b) for (a, one), (b, two) in pairs if one.padded(-1).overlaps(two.padded(-1))], name
    assert min(text.get_size() for text in figure.findobj(Text) if text.get_text()) >= smallest, name
