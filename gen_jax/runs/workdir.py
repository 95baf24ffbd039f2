"""A work directory: config.json, source/, checkpoints/, metrics.jsonl, result.json, certificate.json, report.html."""

import contextlib
import json
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gen_jax import classes, config_tree, disk, processes, sources, stored
from gen_jax import experiment as experiments
from gen_jax.classes import Trust
from gen_jax.disk import write_atomically
from gen_jax.errors import InputError, first_line
from gen_jax.experiment import Experiment
from gen_jax.runs import storage
from gen_jax.sources import Files


@dataclass(frozen=True)
class WorkDir:
    """The folder of one run and the files in it; `origin`: config file, overrides and command of the run."""

    path: Path
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The experiment as a JSON tree, enough to rebuild the model without its config file."""
        return self.path / "config.json"

    @property
    def source(self) -> Path:
        """Source files of classes that are neither in gen_jax nor installed; config.json has their SHA-256."""
        return self.path / "source"

    @property
    def checkpoints(self) -> Path:
        """Orbax checkpoints, one folder per step."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The evaluated weights alone, in the folder of an exported model."""
        other = self.path / "weights.safetensors"
        return other if os.path.lexists(other) else self.path / "weights.npz"

    @property
    def metrics(self) -> Path:
        """One JSON object per line: step, split and named scalars."""
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        """The result of the last `evaluate`."""
        return self.path / "result.json"

    @property
    def certificate(self) -> Path:
        """What `certify` measured, and on which weights."""
        return self.path / "certificate.json"

    @property
    def probe(self) -> Path:
        """The accuracies of linear probes that `probe` measured."""
        return self.path / "probe.json"

    @property
    def samples(self) -> Path:
        """Folder of samples of one fixed noise, an .npz per validation step."""
        return self.path / "samples"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard event files."""
        return self.path / "tensorboard"

    @property
    def lock(self) -> Path:
        """The lock file, held by the process that trains."""
        return self.path / "lock"

    def check_plain(self) -> None:
        """InputError if a path that is read or written here is a link, a pipe or a device."""
        files = (self.config, self.weights, self.metrics, self.result, self.certificate, self.lock)
        folders = (
            self.source,
            self.checkpoints,
            self.samples,
            self.tensorboard,
            self.path / "damaged",
        )
        disk.check_plain([*files, *folders])

    def claim(
        self,
        experiment: Experiment,
        machine: dict[str, Any],
        presentation: Mapping[str, Any] = MappingProxyType({}),
        trained: bool = False,
    ) -> Experiment | None:
        """Write config.json, or check that the present one is the same; InputError shows the difference.

        If the experiment is the present one trained for longer, the present one is returned, for `lengthen`. InputError
        also if the noise of the run would change (another `parallel` or, under pmap, number of devices) or
        a frozen first stage has other weights. `trained`: the training is over, so its optimiser may be one that no
        record holds. The data set's presentation is stored too, so that samples can be shown without the data set.
        """
        self.check_plain()
        tree, files = config_tree.to_tree(experiment), sources.of(config_tree.foreign(experiment))
        # Refuse now what could not be read back after training.
        read = experiments.read(tree, True, files)
        if not trained:
            read.transformation()
        if self.weights.exists():
            raise InputError(
                f"{self.path} is an exported model, whose training cannot continue; use another --workdir"
            )
        if self.config.exists():
            known, others = {*classes.names(tree)}, self._other_sources(files)
            lines = others or config_tree.differences(self._there(known), tree)
            former = self._shorter(experiment, known) if lines and not others else None
            if lines and former is None:
                raise InputError(
                    f"{self.path} holds another config; use another --workdir or the same config."
                    f" Differences (there -> asked): {'; '.join(lines)}"
                )
            self._check_conditions(self.read().get("machine", {}), machine, experiment.data.name)
            return former
        if self.path.exists() and (
            not self.path.is_dir()
            or any(not path.name.startswith(disk.TEMPORARY) for path in self.path.iterdir())
        ):
            raise InputError(
                f"{self.path} exists and is not a work directory (it has no config.json)"
            )
        self._make()
        shown = {"presentation": dict(presentation)} if presentation else {}
        hashes = {name: sources.digest(text) for name, text in files.items()}
        origin = {**self.origin, "sources": hashes} if files else self.origin
        self.write_sources(files)
        record = {**origin, "machine": machine, **shown, "experiment": tree}
        write_atomically(self.config, json.dumps(record, indent=1) + "\n")
        return None

    def lengthen(self, experiment: Experiment, step: int) -> None:
        """Replace the experiment from a step on; the record `lengthened` has the former ones, each with its step."""
        record = self.read()
        former = {"step": step, "experiment": record["experiment"]}
        # Nothing is trained at step 0.
        before = [*self.lengthened, former] if step else self.lengthened
        changes = {"lengthened": before} if before else {}
        record = {**record, **changes, "experiment": config_tree.to_tree(experiment)}
        write_atomically(self.config, json.dumps(record, indent=1) + "\n")

    @property
    def lengthened(self) -> list[dict[str, Any]]:
        """The experiments before the present one, with the step up to which each was trained."""
        return list(self.read().get("lengthened", []))

    def _shorter(self, experiment: Experiment, known: Collection[str]) -> Experiment | None:
        """The present experiment, if the other one is the same trained for longer."""
        if {*classes.foreign(self.read()["experiment"])} - {*known}:
            return None
        there = self.experiment(known)
        return there if experiments.lengthened(there, experiment) else None

    def write_sources(self, files: Files) -> None:
        """Write source files into `source`."""
        for name, text in files.items():
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.source / name, text.encode())

    def source_files(self) -> Files:
        """The source files, read but not run; InputError if one differs from its hash in config.json."""
        record, files = self.read().get("sources", {}), {}
        if not isinstance(record, dict) or not all(map(sources.plain, record)):
            raise InputError(f"{self.config} is damaged: its sources are not file names")
        for name, hashed in record.items():
            path = self.source / name
            disk.check_plain([path])
            try:
                files[name] = path.read_bytes().decode()
            except (OSError, ValueError) as error:
                raise InputError(f"cannot read {path}: {first_line(error)}") from error
            if sources.digest(files[name]) != hashed:
                raise InputError(f"{path} is not the source that {self.config} was written with")
        return files

    def _other_sources(self, asked: Files) -> list[str]:
        there = self.source_files()
        return [
            f"{name}: the source differs"
            for name in there.keys() & asked.keys()
            if there[name] != asked[name]
        ]

    def _there(self, known: Collection[str]) -> Any:
        """The config of the folder as this version writes it, or unchanged if it names classes outside `known`."""
        stored = self.read()["experiment"]
        if {*classes.foreign(stored)} - {*known}:
            return stored
        return config_tree.to_tree(self.experiment(known))

    def _check_conditions(self, there: dict[str, Any], asked: dict[str, Any], data: str) -> None:
        """InputError if the run would continue with other bits; what an older version did not record is not checked."""
        if _noise(there) != _noise(asked):
            raise InputError(
                f"{self.path} was started with --parallel {_noise(there)}, which draws other noise than"
                f" {_noise(asked)}; use another --workdir or continue as started"
            )
        if there.get("first_stage") != asked.get("first_stage"):
            raise InputError(
                f"{self.path} was started with other weights of the first stage; use another --workdir"
            )
        if "init_from" in asked and there.get("init_from") != asked["init_from"]:
            raise InputError(
                f"{self.path} was started with other weights of init_from; use another --workdir"
            )
        if "precision" in there and there["precision"] != asked["precision"]:
            raise InputError(
                f"{self.path} was started with JAX_DEFAULT_MATMUL_PRECISION {there['precision'] or 'unset'}, which is"
                f" {asked['precision'] or 'unset'} now; use another --workdir or continue as started"
            )
        if "data" in there and there["data"] != asked.get("data"):
            change = changed(there["data"], asked["data"])
            raise InputError(
                f"{self.path} was started on another data set {data}: {change}; use another --workdir or restore that"
                " data set"
            )

    def _make(self) -> None:
        """Make the folder; InputError, and no folder, if checkpoints could not be read back from it."""
        storage.literal(self.path.absolute())
        made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not processes.several():  # which try it together
                storage.try_out(self.path)
        except BaseException as error:
            for path in made:
                with contextlib.suppress(OSError):
                    path.rmdir()
            if self.path.is_symlink() and not self.path.exists():
                raise InputError(
                    f"{self.path} is a link to {self.path.readlink()}, which does not exist"
                ) from error
            if isinstance(error, OSError):
                raise InputError(f"cannot make the folder {self.path}: {error.strerror}") from error
            raise

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this run; InputError if another has it. A killed process releases it.

        Of several processes the first one holds the lock.
        """
        with contextlib.ExitStack() as stack:
            lock = disk.locked(self.lock, f"another process is training in {self.path}")
            processes.by_first(lambda: stack.enter_context(lock))
            yield

    def read(self) -> dict[str, Any]:
        """config.json; InputError if the folder is not a work directory."""
        if not self.config.is_file():
            why = "has no config.json" if self.path.is_dir() else "does not exist"
            raise InputError(
                f"{self.path} is not a work directory: it {why}; `gen-jax train` makes one"
            )
        record = stored.record(self.config)
        if "experiment" not in record:
            raise InputError(f"{self.config} is damaged: it holds no experiment")
        for name in ("machine", "presentation"):
            if not isinstance(record.get(name, {}), dict):
                raise InputError(f"{self.config} is damaged: its {name} is not a JSON object")
        if not isinstance(record.get("lengthened", []), list):
            raise InputError(f"{self.config} is damaged: its lengthened is not a list")
        return record

    def experiment(self, trust: Trust = False) -> Experiment:
        """The experiment of config.json; InputError at a class that is neither in gen_jax nor trusted."""
        self.check_plain()
        tree = self.read()["experiment"]
        try:
            return experiments.read(tree, trust, self.source_files())
        except InputError as error:
            raise InputError(f"{self.config}: {error}") from error

    def metrics_rows(self) -> list[dict[str, Any]]:
        """All readable lines of metrics.jsonl: a line cut short by a kill, or damaged, is skipped."""
        return stored.rows(self.metrics)

    def keep_metrics_until(self, step: int) -> None:
        """Drop what was logged after the step from which training continues; set aside a log that is not a file."""
        if self.metrics.is_dir():
            self.metrics.rename(self.path / f"metrics.damaged-{secrets.token_hex(4)}")
        lines = [json.dumps(row) + "\n" for row in self.metrics_rows() if row["step"] <= step]
        write_atomically(self.metrics, "".join(lines))


def changed(there: dict[str, Any], asked: dict[str, Any]) -> str:
    """How the present data set differs from the recorded one."""
    names = (there.get("class_names"), asked["class_names"])
    if names[0] != names[1]:
        return f"classes {names[0]} are now {names[1]}"
    before = there.get("checksums", {})
    splits = [name for name, sum_ in asked["checksums"].items() if before.get(name) != sum_]
    return f"the examples of {' and '.join(splits)} have changed"


def _noise(machine: dict[str, Any]) -> str:
    """What the noise depends on besides seed and step; runs that did not record it used jit."""
    if machine.get("parallel", "jit") == "jit":
        return "jit"
    return f"{machine['parallel']} on {machine['devices']} devices"
