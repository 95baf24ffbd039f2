"""What it costs to compile the train steps of deep models, and the memory of the programs, by `scan` and `remat`.

Command: python experiments/cluster/compile.py [--only ddpm_cifar10] [--out FILE]

The model and the batch are a config's. Each train step (gradient, Adam, average of the weights) is compiled for eight
simulated devices, in a process of its own and without a cache of earlier programs. Nothing is computed. A row that
stands in the file already is not measured again.
"""

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from gen_jax import runtime, sharding
from gen_jax.bench.training import training
from gen_jax.density import num_parameters
from gen_jax.disk import write_atomically
from gen_jax.experiment import load_config
from gen_jax.included import RESULTS, config_path
from gen_jax.runs import results
from gen_jax.runs.provenance import machine, revision, versions
from gen_jax.train.step import jitted

DEVICES = 8
FORMS = ("scan", "scan, remat", "written out", "written out, remat")
CONFIGS = ("pixel_cnn_pp_cifar10", "ddpm_cifar10")


def measured(config: str, form: str) -> dict[str, Any]:
    """Compile one program in this process, which has `DEVICES` devices."""
    runtime.simulate(DEVICES)
    experiment = load_config(config_path(config))
    model: Any = experiment.model
    fields = {"scan": form.startswith("scan"), "remat": form.endswith("remat")}
    if hasattr(model, "scan"):
        model = dataclasses.replace(model, **fields)
    else:
        model = dataclasses.replace(model, network=dataclasses.replace(model.network, **fields))
    setup = training(model, experiment.batch_size)
    state = sharding.shaped(jax.eval_shape(setup.create), setup.placed)
    began, cpu = time.perf_counter(), time.process_time()
    traced = jitted(setup.step, setup.mesh, setup.placed).lower(state, setup.batches)
    lowered, lowered_cpu = time.perf_counter(), time.process_time()
    memory = traced.compile().memory_analysis()
    return {
        "config": config,
        "form": form,
        "parameters": num_parameters(model, {"params": state.params}),
        "batch": experiment.batch_size,
        "trace_seconds": round(lowered - began, 1),
        "trace_cpu_seconds": round(lowered_cpu - cpu, 1),
        "compile_seconds": round(time.perf_counter() - lowered, 1),
        "compile_cpu_seconds": round(time.process_time() - lowered_cpu, 1),
        "process_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "argument_bytes_a_device": int(memory.argument_size_in_bytes),
        "temporary_bytes_a_device": int(memory.temp_size_in_bytes),
        **machine(),
        "versions": versions(),
    }


def alone(config: str, form: str) -> dict[str, Any]:
    """`measured`, in a new process."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, __file__, "--one", config, form]
    out = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    """Compile what is not in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CONFIGS)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--out", type=Path, default=RESULTS / "compile.json")
    parser.add_argument("--one", nargs=2, metavar=("CONFIG", "FORM"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measured(*args.one)))
        return
    rows = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    code = revision()  # before the file of results changes
    done = {(row["config"], row["form"]) for row in rows}
    for config in [args.only] if args.only else CONFIGS:
        for form in args.forms:
            if (config, form) not in done:
                rows.append({**alone(config, form), **code})
                print(json.dumps(rows[-1], indent=1), flush=True)
                write_atomically(args.out, results.dumps({"devices": DEVICES, "rows": rows}))


if __name__ == "__main__":
    main()
