"""The companions' networks at full size on their data in true layouts, a phase of one epoch: from archives to records.

The whole of it is ``make companions PROFILE=rehearsal``; here one run of five networks, so that the suite stays short.
"""

import pytest
from layouts import cifar, mnist, tiny, zipped

from plasticity.analysis import frames
from plasticity.datasets.prepare import prepare
from plasticity.running import engine
from plasticity.studies.all import grid
from plasticity.studies.companions import runs as studies


@pytest.mark.slow
def test_networks_at_full_size_from_archives_to_records(tmp_path):
    raw = tmp_path / "data/raw"
    mnist(raw / "MNIST/raw")
    cifar(raw / "cifar-10-python.tar.gz", "cifar10")
    cifar(raw / "cifar-100-python.tar.gz", "cifar100")
    zipped(tiny(tmp_path / "made")).rename(raw / "tiny-imagenet-200.zip")
    place = engine.Place(str(tmp_path / "data"), str(tmp_path / "results"), workers=2, device="cpu")
    profile = studies.companion("rehearsal")
    for name in profile.more_datasets:
        prepare(place.data, name, complete=profile.complete)
    runs = {}
    for run in grid(profile):
        if run.dataset in profile.more_datasets and run.dataset != "tiny_imagenet":  # which takes minutes without a GPU
            runs.setdefault((run.architecture, run.dataset), run)
    assert {name for name, _ in runs} == {"mlp_bn", "mlp", "cnn", "cnn_bn", "resnet18", "vit_tiny", "vgg16_32"}
    done = engine.run_all(runs.values(), place)
    frame = frames.frame(done)
    assert set(frame.status) == {"done"} and frame.train_accuracy.between(0, 1).all()
    assert all(record["history"][-1]["srank"] >= 1 for record in done)
