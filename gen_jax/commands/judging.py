"""Commands that judge a trained model: its number, its laws, its receptive field, a report, a comparison."""

import argparse
from pathlib import Path
from typing import Any

from gen_jax import processes
from gen_jax.commands.arguments import (
    Subparsers,
    check_out,
    command,
    data_dir,
    fsdp,
    joined,
    joining,
    memory_limit,
    place,
    positive,
    say,
    say_and_save,
    seed,
    trust,
    workdir,
    workdirs,
)
from gen_jax.disk import write_atomically
from gen_jax.errors import InputError


def add(commands: Subparsers) -> None:
    """Add `evaluate`, `certify`, `receptive-field`, `report` and `compare`."""
    evaluate = command(
        commands,
        "evaluate",
        "Evaluate the best checkpoint on a whole split: bits/dim (nats for continuous data), or sample distances.",
        "gen-jax evaluate runs/gated_pixel_cnn_digits --split test",
        run=_evaluate,
    )
    workdir(evaluate)
    evaluate.add_argument(
        "--split", help="split to evaluate (default: test, or validation without a test split)"
    )
    evaluate.add_argument("--data", metavar="NAME", help="data set, instead of the config's")
    evaluate.add_argument(
        "--draws",
        type=positive,
        metavar="K",
        help="draws per example for a bound or estimate, instead of the config's",
    )
    evaluate.add_argument("--limit", type=positive, metavar="N", help="only the first N examples")
    evaluate.add_argument(
        "--compress",
        type=positive,
        metavar="N",
        help="also compress the first N examples to a file",
    )
    evaluate.add_argument(
        "--distances",
        type=Path,
        metavar="CLASSIFIER",
        help="also compare samples with the data, on features of the classifier trained in this folder",
    )
    evaluate.add_argument(
        "--keep",
        metavar="REGION",
        help="the bits of the rest of each image given this part, such as top:0.5, as `complete` takes it",
    )
    evaluate.add_argument(
        "--average-orders",
        action="store_true",
        help="average the probabilities under all orders that the model was trained on",
    )
    evaluate.add_argument(
        "--ode",
        action="store_true",
        help="estimate log p of a diffusion by its probability-flow ODE instead of the bound",
    )
    evaluate.add_argument(
        "--solver",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the ODE's solver, such as tolerance=1e-4, method=dopri5 or trace=hutchinson",
    )
    fsdp(evaluate)
    trust(evaluate)
    data_dir(evaluate)
    memory_limit(evaluate)
    joining(evaluate)

    probe = command(
        commands,
        "probe",
        "Measure how well a linear map of each block's features predicts the classes of the data set.",
        "gen-jax probe runs/image_gpt_digits",
        run=_probe,
    )
    workdir(probe)
    probe.add_argument("--block", type=positive, metavar="N", help="only block N, counted from 1")
    probe.add_argument(
        "--limit", type=positive, metavar="N", help="only the first N training examples"
    )
    probe.add_argument("--data", metavar="NAME", help="data set, instead of the config's")
    trust(probe)
    data_dir(probe)

    certify = command(
        commands,
        "certify",
        "Check the laws of probability on the trained weights and write a certificate.",
        "gen-jax certify runs/gated_pixel_cnn_digits",
        run=_certify,
    )
    workdir(certify)
    certify.add_argument(
        "--split", default="validation", help="split of the examples (default: validation)"
    )
    certify.add_argument("--data", metavar="NAME", help="data set, instead of the config's")
    certify.add_argument(
        "--examples", type=positive, default=12, help="number of examples to check (default: 12)"
    )
    seed(certify)
    certify.add_argument(
        "--check",
        action="store_true",
        help="compute the certificate again and compare, writing nothing; status 1 if it differs",
    )
    trust(certify)
    data_dir(certify)

    receptive = command(
        commands,
        "receptive-field",
        "Draw the pixels on which a pixel's distribution really depends, for one or several models.",
        "gen-jax receptive-field runs/pixel_cnn_digits runs/gated_pixel_cnn_digits --site 5,2 --out field.png",
        run=_receptive_field,
    )
    workdirs(receptive)
    receptive.add_argument(
        "--site", type=place, required=True, metavar="ROW,COLUMN", help="the pixel"
    )
    receptive.add_argument(
        "--out",
        type=Path,
        default=Path("receptive_field.png"),
        help="the picture, a .png file (default: receptive_field.png)",
    )
    receptive.add_argument(
        "--split", default="validation", help="split of the images (default: validation)"
    )
    receptive.add_argument(
        "--examples", type=positive, default=8, help="images to average (default: 8)"
    )
    receptive.add_argument(
        "--noise", action="store_true", help="random images instead of the data set's"
    )
    seed(receptive)
    trust(receptive)
    data_dir(receptive)

    report = command(
        commands,
        "report",
        "Write a report of one or several runs: an HTML file with curves, samples, completions and config.",
        "gen-jax report runs/gated_pixel_cnn_digits --out report.html",
        run=_report,
    )
    workdirs(report)
    report.add_argument(
        "--out",
        type=Path,
        help="the HTML file (default: report.html in the folder of the run, or here for several runs)",
    )
    trust(report)
    data_dir(report)

    compare = command(
        commands,
        "compare",
        "Compare runs: a table of their numbers, the differences of their configs and, with --out, their curves.",
        "gen-jax compare runs/deep4 runs/deep8 --out compare.html",
        run=_compare,
    )
    workdirs(compare)
    compare.add_argument(
        "--out", type=Path, help="an HTML file with the curves on one pair of axes"
    )
    trust(compare)


def _evaluate(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.diagnosed import Diagnosed
    from gen_jax.evaluate import distances, file_size, regions
    from gen_jax.laws import certificate
    from gen_jax.runs import results, summary
    from gen_jax.runs.run import load_run
    from gen_jax.runs.splits import check_trained_on, judged_split

    runtime.set_up(joined(args))
    with processes.agreed():
        if args.compress:
            processes.check_one("evaluate --compress")
        run = load_run(args.workdir, args.trust, args.fsdp).under(args.data, args.draws)
        split = judged_split(run.experiment, args.data_dir, args.split, args.memory)
        check_trained_on(run, split, args.data_dir, named=bool(args.data))
    result = distance = None
    if args.distances:
        distance = distances.measure(
            run, split, load_run(args.distances, args.trust), args.limit, args.data_dir
        )
    if args.average_orders:
        run = run.averaged()
    system = run.experiment.system
    if args.ode:
        run = run.by_ode()
    run = run.solved_by(args.solver)
    if args.keep:
        keep = regions.read_mask(args.keep, split.event.shape)
        result = regions.conditional(run, split, keep, args.limit)
    elif run.experiment.model.kind != "none" or not args.distances:
        result = run.likelihoods()(run.variables, split, args.limit)
    file = file_size.measure(run, split, args.compress) if args.compress else None
    standing = certificate.standing(run.workdir, run.variables)
    record = results.record(run, split, result, file, distance, standing.certified)
    record["system"] = system
    number = f"{system} on {split.dataset} {split.split}: {result or 'no bits/dim'}"
    number += f" for what --keep {args.keep} hides" if args.keep else ""
    number += ", averaged over orders" if args.average_orders else ""
    certified = standing.sentence
    if args.ode:
        integers = split.event.levels is not None
        number += ", by the probability-flow ODE" + integers * " of uniformly dequantised integers"
        certified = "not certified, since certificates are of the bound"
    count, seconds = record["num_examples"], record["seconds"]
    lines = [f"{number}, {count} {split.nats_per}s, trained in {seconds:.0f} s, {certified}"]
    lines += [result.finding] if result and result.finding else []
    if result and result.solver and isinstance(run.experiment.model, Diagnosed):
        lines += [_steps(run, split, args.limit)]
    lines += [summary.distances(record)] if distance else []
    lines += [file_size.sentence(file, split.unit)] if file else []
    judged = args.split in (None, "test") or (
        args.split == "validation"
        and judged_split(run.experiment, args.data_dir, memory=args.memory).split == args.split
    )
    other = args.keep or args.average_orders or args.ode or args.solver
    if judged and not other and args.limit is None:
        saved = (run.workdir.result, results.dumps(record))
        say_and_save(args, record, "\n".join(lines), *saved)
    else:
        say(args, record, "\n".join(lines))


def _steps(run: Any, split: Any, limit: int | None) -> str:
    """How many steps the solver of the model's ODE takes."""
    from gen_jax.density import root_key
    from gen_jax.runs.diagnosis import Diagnosis

    experiment = run.experiment
    key, batch_size = root_key(experiment.seed), experiment.evaluate.batch_size
    steps, _ = Diagnosis(run.model, run.mesh, batch_size, key)(run.variables, split, limit)
    most = steps["most_solver_steps"]
    return f"solver steps of an example: {steps['solver_steps']:.1f} on average, {most:.0f} at most"


def _probe(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.evaluate import probe
    from gen_jax.runs import results
    from gen_jax.runs.run import load_run

    runtime.set_up()
    run = load_run(args.workdir, args.trust).under(args.data, None)
    record = probe.measure(run, args.data_dir, args.block, args.limit)
    text = "\n".join(probe.sentences(record))
    if args.block is None:
        say_and_save(args, record, text, run.workdir.probe, results.dumps(record))
    else:
        say(args, record, text)


def _certify(args: argparse.Namespace) -> int:
    from gen_jax import runtime
    from gen_jax.data.prepared import Data
    from gen_jax.laws import certificate
    from gen_jax.laws.certify import certify
    from gen_jax.runs import results
    from gen_jax.runs.run import load_run
    from gen_jax.runs.splits import load_split

    runtime.set_up()
    run = load_run(args.workdir, args.trust)
    there, asked = None, (args.split, args.examples, args.seed)
    if args.check:
        standing = certificate.standing(run.workdir, run.variables)
        if not standing.record:
            raise InputError(f"there is nothing to check in {args.workdir}: {standing.sentence}")
        there = standing.record
        asked = certificate.settings(there)
    name, examples, seed = asked
    split = load_split(run.experiment, name, args.data_dir, Data(args.data) if args.data else None)
    record = certify(run, split, examples, seed)
    if there:
        return _say_check(args, record, certificate.differences(there, record))
    verdict = "the laws hold" if record["passed"] else "NOT certified: a law fails"
    sentence = f"{record['system']} of step {run.step}, {verdict}, {record['seconds']:.0f} s"
    saved = (run.workdir.certificate, results.dumps(record))
    say_and_save(args, record, f"{certificate.table(record)}\n{sentence}", *saved)
    return 0 if record["passed"] else 1


def _say_check(args: argparse.Namespace, record: dict[str, Any], differences: list[str]) -> int:
    """Print the new rows and whether the folder's certificate agrees; nothing is written."""
    from gen_jax.laws import certificate

    verdict = "the certificate in the folder agrees"
    if differences:
        verdict = f"the certificate in the folder DIFFERS: {'; '.join(differences)}"
    lines = [certificate.table(record), f"{verdict}; checked in {record['seconds']:.0f} s"]
    say(args, {**record, "differences": differences}, "\n".join(lines))
    return 1 if differences or not record["passed"] else 0


def _receptive_field(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.evaluate import receptive_field
    from gen_jax.media import html
    from gen_jax.runs.run import load_run

    check_out(args.out, (".png",))
    runtime.set_up()
    fields = []
    for path in args.workdirs:
        run = load_run(path, args.trust)
        name = path.resolve().name
        receptive_field.site_of(run.experiment.model, args.site, name)  # before data are read
        data = (run, args.examples, None if args.noise else args.split, args.data_dir, args.seed)
        x, labels = receptive_field.images(*data)
        model = (run.experiment.model, run.variables)
        fields.append(receptive_field.field(*model, args.site, x, labels, name, args.seed))
    write_atomically(args.out, html.png(receptive_field.picture(fields), dpi=150))
    rows = [{"model": field.name, **field.counts()} for field in fields]
    lines = [
        f"{row['model']}: depends on {row['depends_on']} of {row['earlier']} earlier pixels, declares"
        f" {row['declared']}, {row['undeclared']} undeclared"
        for row in rows
    ]
    say(args, {"out": str(args.out), "site": args.site, "models": rows}, "\n".join(lines))


def _report(args: argparse.Namespace) -> None:
    from gen_jax import runtime
    from gen_jax.report import page as report

    [first, *others] = args.workdirs
    folder = Path() if others or not first.is_dir() else first
    args.out = args.out or folder / "report.html"
    check_out(args.out, (".html",))
    runtime.set_up()
    page = report.html(args.workdirs, args.data_dir, args.trust)
    write_atomically(args.out, page.encode(errors="backslashreplace"))
    say(args, {"out": str(args.out)}, f"report in {args.out}")


def _compare(args: argparse.Namespace) -> None:
    from gen_jax.report import comparison

    if args.out:
        check_out(args.out, (".html",))
    compared = comparison.compare(args.workdirs, args.trust)
    record, text = compared.record(), compared.text()
    if args.out:
        page = comparison.html(compared)
        write_atomically(args.out, page.encode(errors="backslashreplace"))
        record, text = {"out": str(args.out), **record}, f"{text}\n\ncurves in {args.out}"
    say(args, record, text)
