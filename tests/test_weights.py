"""Weights of timm's networks: where they are looked for, how they are downloaded, and what is taken."""

import http.server
import os
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import save_file

from plasticity.networks import table as networks
from plasticity.networks.loading import read_weights
from plasticity.weights import fetch_weights


def same(path, state):
    found = read_weights(path)
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_missing_weights_say_which_file_is_wanted_where(tmp_path):
    said = r"'test_vit' are missing: put model\.safetensors of https://huggingface\.co/timm/test_vit\.r160_in1k at .*"
    said += r"weights/test_vit\.safetensors \(or, as \.pth, at .*test_vit\.pth\).*PLASTICITY_OFFLINE is set.*"
    with pytest.raises(FileNotFoundError, match=said + "'tf_efficientnet_lite0' has its weights in a pip package"):
        fetch_weights("timm/test_vit", "imagenet", tmp_path)
    with pytest.raises(ValueError, match="no 'imagenet' weights of 'timm/mixer_s16_224'"):
        fetch_weights("timm/mixer_s16_224", "imagenet", tmp_path)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_that_lie_there_are_taken(tmp_path, ending):
    path = tmp_path / "weights" / f"test_resnet.{ending}"
    state = networks.build("timm/test_resnet", 1000, seed=1).state_dict()
    path.parent.mkdir()
    (save_file if ending == "safetensors" else torch.save)(state, path)
    assert fetch_weights("timm/test_resnet", "imagenet", tmp_path) == path
    assert same(path, state)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"test_resnet\.{ending} is not a plain state dict"):
        read_weights(path)


class Hub(http.server.BaseHTTPRequestHandler):
    """What huggingface.co answers for one file of one repository."""

    content = b""

    def do_HEAD(self):
        there = self.path == "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
        self.send_response(200 if there else 404)
        for name, value in {
            "X-Repo-Commit": "0" * 40,
            "ETag": '"abc"',
            "Content-Length": len(self.content) if there else 0,
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        return there

    def do_GET(self):
        if self.do_HEAD():
            self.wfile.write(self.content)

    def log_message(self, *_):
        pass


FETCH = """
import os
from plasticity import weights
print(weights.fetch_weights("timm/test_resnet", "imagenet", "data"))
try:
    weights.fetch_weights("timm/test_vit", "imagenet", "data")
except FileNotFoundError as error:
    print(error)
os.environ["PLASTICITY_OFFLINE"] = "1"
print(weights.fetch_weights("timm/test_resnet", "imagenet", "data2"))
"""


@pytest.mark.slow
def test_weights_come_from_the_hub_and_then_from_its_cache(tmp_path):
    state = networks.build("timm/test_resnet", 1000, seed=1).state_dict()
    save_file(state, tmp_path / "served")
    Hub.content = (tmp_path / "served").read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "hub"),
            "PLASTICITY_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-c", FETCH]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        server.shutdown()
    assert result.returncode == 0, result.stderr[-3000:]
    first, failed, second = result.stdout.splitlines()
    assert (first, second) == ("data/weights/test_resnet.safetensors", "data2/weights/test_resnet.safetensors")
    assert "'test_vit' are missing" in failed and "not downloaded from here: " in failed
    assert "PLASTICITY_OFFLINE" not in failed
    assert all(same(tmp_path / folder / "weights" / "test_resnet.safetensors", state) for folder in ("data", "data2"))
