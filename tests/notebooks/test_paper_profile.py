"""The paper profile from end to end at full size: true layouts of the data, true networks, one epoch.

The whole of it is ``make paper PROFILE=rehearsal``; here a few of its runs, so that the suite stays short.
"""

import layouts
import pytest

from plasticity import data
from plasticity.analysis import frames
from plasticity.cli.inventory import duplicates, inventory
from plasticity.datasets.prepare import prepare
from plasticity.profiles import get_profile, grid
from plasticity.running import engine


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data folder with scaled-down copies of the three data sets under their published archive names."""
    folder = tmp_path_factory.mktemp("paper")
    raw, made = folder / "data" / "raw", folder / "made"
    raw.mkdir(parents=True)
    layouts.archive(layouts.dtd(made, 2), raw / "dtd-r1.0.1.tar.gz")
    layouts.archive(layouts.brain_tumor(made, 5), raw / "brain-tumor-mri-data.zip")
    layouts.archive(layouts.fruits100(made, 2), raw / "fruits-100.zip")
    return engine.Place(str(folder / "data"), str(folder / "results"), workers=2, device="cpu")


@pytest.mark.slow
def test_all_three_networks_at_full_size_from_archives_to_records(place):
    profile = get_profile("rehearsal")
    table = engine.prepare(profile, place)
    assert table["weights"].tolist() == ["simplenet-random.pth", "resnet50-random.pth", "vit_b_16-random.pth"]
    assert inventory(profile, place)["there"].all()
    shapes = {name: tuple(data.load(place.data, name).images.shape) for name in profile.datasets}
    assert shapes == {"dtd": (94, 224, 224, 3), "brain_tumor": (20, 224, 224, 3), "fruit25": (50, 224, 224, 3)}
    found = duplicates(profile, place).set_index("dataset")
    assert (
        found["of"].to_dict() == {"dtd": 94, "brain_tumor": 20, "fruit25": 50} and found.loc["dtd", "published"] == 5640
    )
    assert duplicates(get_profile("mini"), engine.Place("data", place.results)).empty
    runs = [run for run in grid(profile, cases=("25M",)) if run.dataset == "brain_tumor"]
    done = engine.run_all(runs, place)
    frame = frames.frame(done)
    assert frame.architecture.tolist() == ["simplenet", "resnet50", "vit_b_16"] and set(frame.status) == {"done"}
    assert all(
        row["reset"] == row["size"] // 4 for record in done for row in record["resets"] if row["kind"] == "weight"
    )
    with pytest.raises(ValueError, match="packed from 94 images, DTD has 5,640"):
        engine.prepare(get_profile("paper"), place)


def test_the_whole_profile_asks_for_the_whole_data(place):
    with pytest.raises(
        ValueError, match="brain-tumor-mri-dataset is not the whole of Brain Tumor: 20 images in all .published 7,153."
    ):
        prepare(place.data, "brain_tumor_grouped")
