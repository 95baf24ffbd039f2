"""An experiment is a frozen dataclass with a model in it; a config file is Python that returns an experiment.

`--set a.b=value` replaces a field with a type check. A work directory stores the experiment as a tree
(`config_tree.py`), which `read` turns back into the experiment without the config file.
"""

import ast
import dataclasses
import inspect
import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gen_jax import included, sources
from gen_jax.classes import Trust
from gen_jax.conditions import events_of
from gen_jax.config_tree import as_float, class_of, fits, from_tree, hints_of, named, to_tree
from gen_jax.data.prepared import Data
from gen_jax.errors import InputError, near
from gen_jax.ops.augment import Augmentation
from gen_jax.optimizer import Adam, Setting, following
from gen_jax.sources import NONE, Files

# A larger number is a typing error or a damaged config.
LAYERS = ("depth", "blocks", "resnets", "cycles", "layers", "resolutions")
DEEPEST, LARGEST, MOST_SAMPLES = 1000, 2**24, 10_000


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """When and how to evaluate. If log_prob is random, the batch size is part of the protocol.

    - `every`: validate and save a checkpoint every N steps.
    - `examples`: validate on the first N during training; the final evaluation uses the whole split.
    - `data`: data set of the final evaluation, if not the training set.
    - `draws`: random draws per example for a bound or an estimate; `validation_draws` during training.
    - `samples`: draw this many samples at each validation, from the same noise every time; the report shows them.
    - `patience`: training ends after this number of validations without improvement; by default at the last step.
    """

    every: int = 500
    batch_size: int = 128
    examples: int | None = None
    data: Data | None = None
    draws: int = 1
    validation_draws: int = 1
    samples: int = 0
    patience: int | None = None


# Fields with the length of a schedule.
LENGTHS = ("optimizer.learning_rate.steps", "optimizer.learning_rate.lengths")
# Methods that a class in an untyped field needs, if a stored config is to build it.
OPEN = {"model": ("loss", "log_prob", "sample"), "optimizer": ("build", "accumulate")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that determines the numbers of a run. Budgets are in steps.

    - `ema`: decay of the averaged weights.
    - `skip_above`: a step is skipped if the norm of its gradient (`grad_norm` in the log) is larger or not finite:
      weights, their average and the optimiser's state stay, but the step is counted.
    - `first_stage`: work directory of the trained model that a second stage holds frozen in its field `first`.
    - `init_from`: work directory, exported folder or name of a trained model, with whose averaged weights training
      begins (`train/initial.py`).
    - `init_examples`: number of examples for data-dependent initialisation; by default it uses the first batch.
    - `augment`: random changes of the examples of a train step (`ops/augment.py`); initialisation and evaluation see
      the examples as they are.
    """

    model: Any
    data: Data
    steps: int
    batch_size: int
    optimizer: Any = Adam()  # noqa: RUF009  a frozen value
    seed: int = 0
    ema: float = 0.999
    evaluate: Evaluate = Evaluate()
    first_stage: str | None = None
    init_examples: int | None = None
    skip_above: float | None = None
    augment: tuple[Augmentation, ...] = ()
    init_from: str | None = None

    def __post_init__(self):
        for name, value in (*_whole(self.model, "model"), ("batch_size", self.batch_size),
                            ("evaluate.batch_size", self.evaluate.batch_size)):  # fmt: skip
            most = DEEPEST if name.rpartition(".")[2] in LAYERS else LARGEST
            if value > most:
                raise InputError(f"{name} is {value:,}: more than {most:,} cannot be built")
        for field in ("steps", "batch_size"):
            if getattr(self, field) < 1:
                raise InputError(f"{field} must be at least 1, not {getattr(self, field)}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must lie in [0, 2^32), not {self.seed}")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema must lie in [0, 1), not {self.ema}")
        if self.evaluate.every < 1 or self.evaluate.batch_size < 1:
            raise InputError("evaluate.every and evaluate.batch_size must be at least 1")
        if min(self.evaluate.draws, self.evaluate.validation_draws) < 1:
            raise InputError("evaluate.draws and evaluate.validation_draws must be at least 1")
        if self.evaluate.examples is not None and self.evaluate.examples < 1:
            raise InputError("evaluate.examples must be at least 1")
        if not 0 <= self.evaluate.samples <= MOST_SAMPLES:
            raise InputError(f"evaluate.samples must lie in [0, {MOST_SAMPLES:,}]")
        if self.evaluate.patience is not None:
            if self.evaluate.patience < 1:
                raise InputError("evaluate.patience must be at least 1")
            if getattr(self.model, "kind", None) == "none":
                raise InputError(
                    f"evaluate.patience: {self.system} has no likelihood that could stop improving"
                )
        if self.init_examples is not None and self.init_examples < 1:
            raise InputError("init_examples must be at least 1")
        if self.skip_above is not None and not self.skip_above > 0:
            raise InputError(f"skip_above must be positive, not {self.skip_above}")
        if self.augment:
            self._check_augment()
        if self.optimizer.accumulate < 1:
            raise InputError("optimizer.accumulate must be at least 1")
        if self.batch_size % self.optimizer.accumulate:
            raise InputError(
                f"batch_size {self.batch_size} does not split into {self.optimizer.accumulate} parts to accumulate"
            )

    def _check_augment(self) -> None:
        """InputError unless examples are images of integers, given nothing that would have to change with them."""
        event = self.model.event
        if len(event.shape) != 3 or event.levels is None:
            values = "integers" if event.levels else "reals"
            raise InputError(
                f"augment changes images (H, W, C) of integers, not events {event.shape} of {values}"
            )
        if events_of(self.model):
            raise InputError(
                "augment changes an image, but not the values that the model is given with it"
            )
        for augmentation in self.augment:
            augmentation.check(event.shape)

    @property
    def system(self) -> str:
        """The system's id, see `system_of`."""
        return system_of(type(self.model))

    def transformation(self) -> Any:
        """The optax transformation of the optimiser; its `build` gets the `Setting` if it takes an argument."""
        build = self.optimizer.build
        takes_setting = inspect.signature(build).parameters
        return (
            build(Setting.of(self.model, self.batch_size, self.steps)) if takes_setting else build()
        )


def system_of(cls: type) -> str:
    """The id in the attribute `system` that the class itself (not a base class) defines, otherwise its name."""
    return vars(cls).get("system", cls.__name__)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Run a config file and apply `--set` overrides; InputError if the file or an override is invalid.

    `CONFIG.py:NAME` names one experiment of a file that defines several; a name without path and ending is one of the
    configs that come with the package (`included`). Like a script, a config may import modules from its folder; the
    source of their classes is stored with the run (`sources`).
    """
    if included.is_name(str(path)) and not path.is_file():
        path = included.config_path(str(path))
    file, name = config_name(path)
    if not file.is_file():
        raise InputError(f"config not found: {file}")
    function = "experiments" if name else "experiment"
    try:
        with sources.neighbours(file.resolve()):
            names = runpy.run_path(str(file), run_name=file.stem)
            if not callable(names.get(function)):
                several = callable(names.get("experiments"))
                hint = (
                    f"; it defines several experiments, name one as {file}:NAME" if several else ""
                )
                raise InputError(f"{file} does not define {function}(){hint}")
            result = names[function]()
        sources.know_config(file.resolve(), names)
    except SyntaxError as error:
        raise InputError(f"{error.filename or file} is not valid Python: {error}") from error
    if name:
        if not isinstance(result, dict):
            raise InputError(f"experiments() of {file} returns {result!r}, not a dict by name")
        if name not in result:
            raise InputError(
                f"{file} has no experiment {name!r}{near(name, result)}; it has {', '.join(result)}"
            )
        result = result[name]
    if not isinstance(result, Experiment):
        raise InputError(f"{function}() of {file} returns {result!r}, not an Experiment")
    return overridden(result, overrides)


def config_name(path: Path) -> tuple[Path, str]:
    """The file and the experiment of `CONFIG.py:NAME`; the name is empty for a file with one experiment."""
    file, colon, name = path.name.partition(".py:")
    return (path.with_name(f"{file}.py"), name) if colon else (path, "")


def overridden(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """Apply `--set` overrides. A schedule over all steps is resized with them, unless its length is set too."""
    paths = [override.partition("=")[0] for override in overrides]
    length_set = any(path in LENGTHS for path in paths)
    for override in sorted(overrides, key=lambda override: not override.startswith("steps=")):
        before, experiment = experiment.steps, replace(experiment, override)
        if experiment.steps != before and not length_set:
            optimizer = following(experiment.optimizer, before, experiment.steps)
            experiment = dataclasses.replace(experiment, optimizer=optimizer)
    return experiment


def lengthened(there: Experiment, asked: Experiment) -> bool:
    """Whether `asked` is the experiment `there` trained for longer: nothing else differs but when training ends.

    That is the number of steps, which is not smaller, the patience, and schedules over all steps, resized or not.
    """
    if asked.steps < there.steps:
        return False
    judge = dataclasses.replace(there.evaluate, patience=asked.evaluate.patience)
    ends = {"steps": asked.steps, "evaluate": judge}
    optimizers = (there.optimizer, following(there.optimizer, there.steps, asked.steps))
    longer = (dataclasses.replace(there, optimizer=one, **ends) for one in optimizers)
    return to_tree(asked) in [to_tree(experiment) for experiment in longer]


def _whole(node: Any, path: str) -> Iterator[tuple[str, int]]:
    """Every whole number of a model with its path, except seeds, which may have any size."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        for field in dataclasses.fields(node):
            if field.name not in ("parent", "name") and "seed" not in field.name:
                yield from _whole(getattr(node, field.name, None), f"{path}.{field.name}")
    elif isinstance(node, tuple | list):
        for item in node:
            yield from _whole(item, path)
    elif isinstance(node, int) and not isinstance(node, bool):
        yield path, int(node)


def replace(experiment: Experiment, override: str) -> Experiment:
    """Apply one `a.b=value`; InputError for an unknown field or a value of another type."""
    path, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"--set needs FIELD=VALUE, not {override!r}")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    return _replace(experiment, path.split("."), value, path)


def _replace(node: Any, names: list[str], value: Any, path: str) -> Any:
    fields = hints_of(type(node)) if dataclasses.is_dataclass(node) else {}
    name, *rest = names
    if name not in fields:
        owner = type(node).__name__
        raise InputError(
            f"--set {path}: {owner} has no field {name!r}{near(name, fields)}; it has {', '.join(fields)}"
        )
    old, hint = getattr(node, name), fields[name]
    value = _replace(old, rest, value, path) if rest else _checked(value, hint, path)
    return type(node)(**{**{field: getattr(node, field) for field in fields}, name: value})


def _checked(value: Any, hint: Any, path: str) -> Any:
    if hint is Any:
        raise InputError(f"--set {path}: set one of its fields instead")
    value = as_float(value, hint)
    if not fits(value, hint):
        raise InputError(
            f"--set {path}: {value!r} is a {type(value).__name__}, the field is {named(hint)}"
        )
    return value


def read(tree: Any, trust: Trust = False, files: Files = NONE) -> Experiment:
    """The experiment of a stored tree; InputError if it is damaged or a field has a wrong type.

    Classes are those of gen_jax and, if trusted, others from source `files` or installed (`classes.find`). Only what
    the fields of an Experiment may hold is built.
    """
    if not isinstance(tree, dict) or class_of(tree, trust, files) is not Experiment:
        raise InputError("the stored config is not a gen_jax:Experiment")
    for name, methods in OPEN.items():
        node = tree["fields"].get(name)
        kind = class_of(node, trust, files) if isinstance(node, dict) else type(node)
        missing = [method for method in methods if not hasattr(kind, method)]
        if missing:
            raise InputError(f"{name}: {kind.__qualname__} has no {' and no '.join(missing)}")
    try:
        return from_tree(tree, Experiment, trust, files)
    except RecursionError as error:
        raise InputError("the stored experiment is nested too deeply") from error
