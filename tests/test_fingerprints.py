"""Eight short trainings come out the same, to the bit, as when this kind of machine was last recorded.

A change that only moves code leaves them alone. One that is meant to change numbers records them anew, and says so:
`python tests/test_fingerprints.py`. Bits depend on PyTorch and on the processor, so each kind has a record of its own.
"""

import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path

import pytest
import tiny
import torch

from labutils import runs
from labutils.models import MODELS
from labutils.training import train

RECORDED = Path(__file__).with_name("fingerprints.json")
TRAININGS = {  # what differs from tiny.config()
    "plain": {},
    "bfloat16": {"precision": "bfloat16"},
    "clipping, three D steps": {"loss": "wasserstein", "clip": 0.01, "d_steps": 3},
    "gradient penalty": {"loss": "wasserstein", "gradient_penalty": 10},
    "R1, average, D's own rate": {"r1": 1, "ema": 0.9, "d_lr": 1e-4},
    "spectral norm, hinge": {"loss": "hinge", "spectral_norm": True},
    "the lab's MLP": {"z_dim": 100, "batch_size": 64, "epochs": 2},  # from 64 on, oneDNN multiplies
    "the lab's DCGAN": {"z_dim": 100, "model": "dcgan", "epochs": 2},
}


def kind() -> str:
    """What the bits of a training depend on."""
    processor = platform.processor() or platform.machine()
    with Path("/proc/cpuinfo").open() if Path("/proc/cpuinfo").exists() else tempfile.TemporaryFile("w+") as lines:
        named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "cpu family"))]
    parts = dict.fromkeys([platform.system(), processor, *named, torch.backends.cpu.get_cpu_capability()])
    return ", ".join([*filter(None, parts), f"torch {torch.__version__}"])


def digest(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def trained(name: str, folder: Path) -> dict[str, str]:
    """A hash each of the tensors, the pictures and the history of a training."""
    with pytest.MonkeyPatch.context() as patch:
        if not name.startswith("the lab's"):
            patch.setitem(MODELS, "mlp", tiny.NETWORKS)
        run = train(tiny.config(**TRAININGS[name]), folder, images=tiny.images(132), progress=False)
    tensors = {path.name: runs.digest(runs.read_tensors(path)[0]) for path in sorted(folder.glob("*.safetensors"))}
    pictures = [run.grid(epoch).tobytes() for epoch in run.sample_epochs()]
    history = tiny.untimed(runs.load_run(folder).history)
    return {"tensors": digest(tensors), "pictures": digest(pictures), "history": digest(history)}


def recorded() -> dict[str, dict]:
    return json.loads(RECORDED.read_text("utf8"))


@pytest.mark.parametrize("name", TRAININGS)
def test_a_short_training_comes_out_as_recorded(name, tmp_path):
    if kind() not in recorded():
        pytest.skip(f"not recorded on this kind of machine ({kind()}): python tests/test_fingerprints.py does so")
    assert trained(name, tmp_path / "run") == recorded()[kind()][name]


def test_the_fingerprints_tell_trainings_apart():
    for prints in recorded().values():
        assert prints.keys() == TRAININGS.keys()
        assert all(len({each[part] for each in prints.values()}) == len(prints) for part in ("tensors", "history"))


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prints = {name: trained(name, Path(folder) / str(i)) for i, name in enumerate(TRAININGS)}
    RECORDED.write_text(json.dumps(recorded() | {kind(): prints}, indent=2) + "\n", "utf8")
    print(f"Recorded for {kind()} in {RECORDED}.")


if __name__ == "__main__":
    sys.exit(main())
