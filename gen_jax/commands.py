"""What each command of `gen-jax` does: results on standard output, everything else on standard error."""

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

from gen_jax.errors import InputError


def run(args: argparse.Namespace) -> int:
    """Run the command that was parsed; its exit status."""
    name = "_".join(
        filter(None, (args.command, getattr(args, "action", None), getattr(args, "subject", None)))
    )
    return globals()[f"_{name.replace('-', '_')}"](args) or 0


def _train(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.experiment import load_config
    from gen_jax.train.loop import train
    from gen_jax.train.workdir import WorkDir

    runtime.set_up()
    experiment = load_config(args.config, args.set)
    origin = {"config": str(args.config), "overrides": args.set, "command": args.typed}
    workdir = WorkDir(args.workdir or Path("runs") / args.config.stem, origin)
    train(experiment, workdir, args.data_dir, args.parallel)
    rows = [row for row in workdir.metrics_rows() if row["split"] == "validation"]
    best = min(rows, key=lambda row: row["bits_per_dim"]) if rows else None
    if args.json:
        _print_json(
            {"workdir": str(workdir.path), "steps": experiment.steps, "best_validation": best}
        )
    else:
        print(f"trained {experiment.steps} steps in {workdir.path}")


def _evaluate(args: argparse.Namespace) -> None:
    import jax

    from gen_jax import runtime
    from gen_jax.evaluate import certificate, results
    from gen_jax.evaluate.likelihood import Likelihoods
    from gen_jax.evaluate.run import load_run
    from gen_jax.train.loop import load_split
    from gen_jax.train.workdir import write_atomically

    runtime.set_up()
    run = load_run(args.workdir)
    split = load_split(run.experiment, args.split, args.data_dir)
    likelihoods = Likelihoods(
        run.model,
        run.mesh,
        run.experiment.evaluate.batch_size,
        jax.random.key(run.experiment.seed),
    )
    result = likelihoods(run.variables, split, args.limit)
    record = results.record(run, split, result)
    if args.limit is None and args.split == "test":
        write_atomically(run.workdir.result, results.dumps(record))
    if args.json:
        _print_json(record)
    else:
        what = f"{record['system']} on {split.dataset} {split.split}"
        count = len(result.per_example)
        certified = certificate.standing(run.workdir, run.variables).sentence
        print(
            f"{what}: {result}, {count} examples, trained in {record['seconds']:.0f} s, {certified}"
        )


def _certify(args: argparse.Namespace) -> int:
    from gen_jax import runtime
    from gen_jax.evaluate import certificate, results
    from gen_jax.evaluate.certify import certify
    from gen_jax.evaluate.run import load_run
    from gen_jax.train.loop import load_split
    from gen_jax.train.workdir import write_atomically

    runtime.set_up()
    run = load_run(args.workdir)
    split = load_split(run.experiment, args.split, args.data_dir)
    record = certify(run, split, args.examples, args.seed)
    write_atomically(run.workdir.certificate, results.dumps(record))
    where = "the laws hold" if record["passed"] else "NOT certified: a law fails"
    what = f"{record['system']} of step {run.step}, {where}, {record['seconds']:.0f} s"
    _say(args, record, f"{certificate.table(record)}\n{what}; in {run.workdir.certificate}")
    return 0 if record["passed"] else 1


def _sample(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.evaluate import draw
    from gen_jax.evaluate.run import load_run

    _check_out(args.out)
    runtime.set_up()
    run = load_run(args.workdir)
    x = draw.sample(run, args.num, args.seed, args.label, args.temperature)
    _save(args.out, run, x, "samples", columns=max(1, round(len(x) ** 0.5)))
    _say(
        args,
        {"out": str(args.out), "num": len(x), "step": run.step},
        f"{len(x)} samples in {args.out}",
    )


def _complete(args: argparse.Namespace) -> None:
    import numpy as np

    from gen_jax import runtime
    from gen_jax.evaluate import draw, pictures
    from gen_jax.evaluate.run import load_run

    _check_out(args.out)
    runtime.set_up()
    run = load_run(args.workdir)
    event = run.experiment.model.event
    x = pictures.read_images(args.images, event)
    keep = draw.kept_region(args.keep, event.shape)
    unlabelled = run.conditional and args.label is None
    labels = None if unlabelled else draw.labels_for(run, len(x), args.label)
    drawn = draw.complete(run, x, keep, args.seed, labels, args.temperature)
    if args.out.suffix == ".npz":
        _save(args.out, run, drawn, "completions", columns=1)
    else:
        rows = np.stack([x, np.where(keep, x, 0), drawn], axis=1).reshape(-1, *event.shape)
        _save(args.out, run, rows, "completions", columns=3)
    _say(
        args,
        {"out": str(args.out), "num": len(x), "kept_sites": int(keep.sum()), "step": run.step},
        f"{len(x)} completions in {args.out}: image, kept part, completion",
    )


def _report(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.evaluate import report
    from gen_jax.train.workdir import write_atomically

    _check_out(args.out, (".html",))
    runtime.set_up()
    write_atomically(args.out, report.html(args.workdirs, args.data_dir))
    print(f"report in {args.out}")


def _receptive_field(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.evaluate import receptive_field
    from gen_jax.evaluate.run import load_run

    _check_out(args.out, (".png",))
    runtime.set_up()
    fields = []
    for path in args.workdirs:
        run = load_run(path)
        name = path.resolve().name
        receptive_field.site_of(run.experiment.model, args.site, name)  # before data are read
        data = (run, args.examples, None if args.noise else args.split, args.data_dir, args.seed)
        x, labels = receptive_field.images(*data)
        model = (run.experiment.model, run.variables)
        fields.append(receptive_field.field(*model, args.site, x, labels, name, args.seed))
    receptive_field.picture(fields).savefig(args.out, dpi=150)
    rows = [{"model": one.name, **one.counts()} for one in fields]
    lines = [
        f"{row['model']}: depends on {row['depends_on']} of {row['earlier']} earlier pixels, declares"
        f" {row['declared']}, {row['undeclared']} undeclared"
        for row in rows
    ]
    _say(args, {"out": str(args.out), "site": args.site, "models": rows}, "\n".join(lines))


def _export(args: argparse.Namespace) -> None:
    from gen_jax.evaluate import weights
    from gen_jax.evaluate.run import load_run

    run = load_run(args.workdir)
    size = weights.export(run.workdir, run.variables, run.step, args.out)
    _say(
        args,
        {"out": str(args.out), "step": run.step, "weights_bytes": size},
        f"the weights of step {run.step} are in {args.out}, {size:,} bytes",
    )


def _compress(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.coding import files
    from gen_jax.coding.codec import Codec
    from gen_jax.evaluate.run import load_run
    from gen_jax.train.workdir import write_bytes_atomically

    _check_out(args.out, (".gjx",))
    runtime.set_up()
    run = load_run(args.workdir)
    codec = Codec(run.experiment.model, run.variables)
    content = files.read(args.images, codec.event, args.label)
    data, size = codec.compress(content)
    write_bytes_atomically(args.out, data)
    found = {"out": str(args.out), "step": run.step, **size.record()}
    _say(args, found, f"{size} in {args.out}")


def _decompress(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.coding import container, files
    from gen_jax.coding.codec import Codec
    from gen_jax.evaluate.run import load_run

    if not args.file.is_file():
        raise InputError(f"no such file: {args.file}")
    if not args.out.absolute().parent.is_dir():
        raise InputError(f"-o: there is no folder {args.out.absolute().parent}")
    runtime.set_up()
    run = load_run(args.workdir)
    codec = Codec(run.experiment.model, run.variables)
    try:
        data = args.file.read_bytes()
        header, _ = container.unpack(data)
        files.check_out(header.kind, len(header.entries), args.out)
        content = codec.decompress(data)
        files.write(content, args.out, codec.levels)
    except InputError as error:
        raise InputError(f"{args.file}: {error}") from error
    count = sum(len(x) for x in content.arrays.values())
    _say(
        args,
        {"out": str(args.out), "num": count, "arrays": list(content.arrays)},
        f"{count} images in {args.out}",
    )


def _list(args: argparse.Namespace) -> None:
    from gen_jax.evaluate import catalogue

    found = {"systems": catalogue.systems(), "configs": catalogue.configs()}
    if args.json:
        _print_json(found)
        return
    print("systems")
    for row in found["systems"]:
        print(f"  {row['system']:<18} {row['is']}")
    print("configs")
    for row in found["configs"]:
        print(f"  {row['config']}\n      {row['is']}")
        print(f"      published: {row['published'] or 'none'}")
        print(f"      measured:  {row['measured'] or 'not yet'}")


def _data_list(args: argparse.Namespace) -> None:
    from gen_jax.data import prepared
    from gen_jax.data.builders import BUILDERS
    from gen_jax.data.importing.writer import imported

    folder = args.data_dir or prepared.default_data_dir()
    there = prepared.prepared_names(args.data_dir)
    rows = [
        {"name": name, "is": (builder.__doc__ or "").splitlines()[0], "prepared": name in there}
        for name, builder in sorted(BUILDERS.items())
    ] + [
        {"name": name, "is": described, "prepared": True}
        for name, described in imported(args.data_dir).items()
        if name not in BUILDERS
    ]
    if args.json:
        _print_json({"data_dir": str(folder), "datasets": rows})
        return
    print(f"in {folder}:")
    for row in rows:
        print(
            f"  {row['name']:<23} {'prepared' if row['prepared'] else 'not prepared':<13} {row['is']}"
        )


def _data_prepare(args: argparse.Namespace) -> None:
    from gen_jax.data import prepared
    from gen_jax.train.logging import log_to_stderr

    log_to_stderr()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS's own talk
        folder = prepared.prepare(args.name, args.data_dir, args.source)
    print(f"{args.name} is in {folder}")


def _data_import(args: argparse.Namespace) -> None:
    from gen_jax.data.importing.importer import Options, import_files
    from gen_jax.train.logging import log_to_stderr

    log_to_stderr()
    options = Options(args.levels, args.tiles, args.length, args.split)
    with contextlib.redirect_stdout(io.StringIO()):  # as above
        done = import_files(args.name, args.paths, options, args.data_dir)
    _say(args, done.record(), "\n".join(done.sentences()))


def _data_export(args: argparse.Namespace) -> None:
    import numpy as np

    from gen_jax.data import prepared

    _check_out(args.out, (".npz",))
    split = prepared.load(args.name, args.split, args.data_dir)
    np.savez_compressed(args.out, images=split.x[: args.limit])
    print(f"{len(split.x[: args.limit])} examples of {args.name} {args.split} in {args.out}")


def _bench_sampling(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.evaluate import bench

    runtime.set_up()
    found = bench.sampling_costs(args.batch, naive=not args.no_naive)
    if args.json:
        _print_json(found)
    else:
        print(bench.table(found))


def _check_out(path: Path, endings: tuple[str, ...] = (".png", ".npz")) -> None:
    if path.suffix not in endings:
        raise InputError(f"--out needs a name that ends in {' or '.join(endings)}, not {path}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--out: there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise InputError(f"--out: {path} is a folder")


def _save(path: Path, run: Any, x: Any, name: str, columns: int) -> None:
    import numpy as np

    from gen_jax.evaluate import pictures

    event = run.experiment.model.event
    if path.suffix == ".npz":
        dtype = x.dtype if event.levels is None else np.min_scalar_type(event.levels - 1)
        np.savez_compressed(path, **{name: x.astype(dtype)})
    elif len(event.shape) == 3 and event.levels is not None:
        pictures.save_grid(path, x, event.levels, columns)
    else:
        raise InputError(
            f"examples of shape {event.shape} are no images; give --out a name that ends in .npz"
        )


def _say(args: argparse.Namespace, record: dict[str, Any], sentence: str) -> None:
    if args.json:
        _print_json(record)
    else:
        print(sentence)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))
