"""Record how large models split over devices, without these: python experiments/cluster/scaling.py.

Shares of the state are from shapes; programs are compiled for eight chips of a TPU v5e, which needs libtpu but no TPU.
`--states` records only the former and keeps the programs of the file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from gen_jax import runtime, sharding
from gen_jax.bench import record, scaling
from gen_jax.density import num_parameters
from gen_jax.disk import write_atomically
from gen_jax.experiment import Experiment, load_config
from gen_jax.runs import results

OUT = Path(__file__).parents[1] / "results" / "scaling.json"
DEVICES, TOPOLOGY = 8, "v5e:2x4"
PALETTE = "image_gpt_cifar10_palette512"
SPARSE_152M = (
    "model.layers=48 model.features=512 model.heads=8 model.key_features=512 model.inner=2048"
)
GPT_M, GPT_L = (
    f"model.layers={layers} model.features={features} model.heads={heads}"
    for layers, features, heads in ((36, 1024, 8), (48, 1536, 16))
)
STATES = {
    "PixelCNN++": "pixel_cnn_pp_cifar10",
    "Sparse Transformer, 152M": f"sparse_transformer_cifar10 {SPARSE_152M}",
    "Image GPT M": f"{PALETTE} {GPT_M}",
    "Image GPT L": f"{PALETTE} {GPT_L}",
}
ONE_EACH = "batch_size=8 model.dtype=bfloat16"
PROGRAMS = [(f"{STATES[name]} {ONE_EACH}", fsdp) for name in list(STATES)[1::2] for fsdp in (8, 1)]


def main() -> None:
    """Write `results/scaling.json` anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", action="store_true", help="only the shares of the state")
    asked = parser.parse_args()
    runtime.simulate(DEVICES)
    runtime.set_up()
    places = scaling.simulated([DEVICES])
    states = [state(name, config, places[0]) for name, config in STATES.items()]
    if asked.states:
        stored = json.loads(OUT.read_text())
        write({**stored, "states": states})
        return
    chips = scaling.chips_of(TOPOLOGY)
    rows: list[dict[str, Any]] = []
    for config, fsdp in PROGRAMS:
        experiment = built(config)
        found = scaling.measure({config: experiment}, [chips], TOPOLOGY.partition(":")[0], fsdp)
        rows += found["rows"]
        write({**found, "topology": TOPOLOGY, "states": states, "rows": rows})


def built(config: str) -> Experiment:
    """The experiment of a name with overrides."""
    name, *overrides = config.split()
    return load_config(Path(name), overrides)


def state(name: str, config: str, devices: scaling.Devices) -> record.Row:
    """Bytes of the state in all and on each of the devices that split it."""
    experiment = built(config)
    shapes = scaling.step(experiment, devices, len(devices)).state
    held = sharding.held(shapes)
    return {
        "name": name,
        "config": config,
        "parameters": num_parameters(experiment.model, {"params": shapes.params}),
        "devices": len(devices),
        "state_bytes": held.total,
        "state_device_bytes": held.device,
        "state_share": round(held.device / held.total, 4),
    }


def write(found: dict[str, Any]) -> None:
    """Store what has been found so far."""
    write_atomically(OUT, results.dumps(found))


if __name__ == "__main__":
    main()
