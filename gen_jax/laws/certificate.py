"""certificate.json: which laws held on which weights. It counts only for the same parameters under the same config."""

from typing import Any, Literal, NamedTuple

from gen_jax import fingerprint, stored
from gen_jax.errors import InputError
from gen_jax.runs.workdir import WorkDir
from gen_jax.terminal import aligned
from gen_jax.typing import Variables

# Whose word it is: whoever can write into the folder could have written it; `certify --check` makes it again.
CERTIFIED = "certified by the certificate in the folder"


class Standing(NamedTuple):
    """What a certificate says about given weights, and the words for it."""

    state: Literal["certified", "failed", "stale", "damaged", "none"]
    sentence: str
    record: dict[str, Any] | None = None

    @property
    def certified(self) -> bool:
        """All laws held on these weights."""
        return self.state == "certified"

    @property
    def fits(self) -> bool:
        """There is one, of these weights."""
        return self.state in ("certified", "failed")


def config_hash(workdir: WorkDir) -> str:
    """SHA-256 of the experiment in config.json."""
    return fingerprint.of_tree(workdir.read()["experiment"])


def standing(workdir: WorkDir, variables: Variables) -> Standing:
    """Whether the work directory's certificate is of these weights, and whether all its laws held."""
    if not workdir.certificate.is_file():
        return Standing("none", "not certified")
    try:
        record = stored.record(workdir.certificate)
        of = (record["parameters"], record["config"])
        step, laws = record["step"], {row["law"]: row["passed"] is True for row in record["rows"]}
        table(record)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Standing("damaged", "not certified: certificate.json is damaged")
    if of != (fingerprint.of_variables(variables), config_hash(workdir)):
        return Standing(
            "stale",
            f"not certified: the certificate is stale, it is of other weights or another config (step {step})",
        )
    failed = [law for law, passed in laws.items() if not passed]
    if failed or not laws:
        return Standing("failed", f"not certified: fails {', '.join(failed) or 'empty'}", record)
    return Standing("certified", CERTIFIED, record)


def settings(record: dict[str, Any]) -> tuple[str, int, int]:
    """Split, number of examples and seed that a certificate was made with; InputError where it says none."""
    split, examples, seed = (record.get(name) for name in ("split", "num_examples", "seed"))
    if not (isinstance(split, str) and _natural(examples) and _natural(seed)) or examples == 0:
        said = (split, examples, seed)
        raise InputError(f"certificate.json does not say what it was made of: {said!r:.200}")
    return split, int(examples or 0), int(seed or 0)


def _natural(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**32


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What a certificate says otherwise than one made again: steps, laws, limits and verdicts.

    What is measured is rounding, different on another machine: it may differ by less than the limit of its law. A limit
    that is computed from the model's bits may differ by 1e-4 of itself.
    """
    found = []
    if there["step"] != here["step"]:
        found.append(f"it is of step {there['step']}, the weights are of step {here['step']}")
    rows, again = ({row["law"]: row for row in record["rows"]} for record in (there, here))
    for law in dict.fromkeys([*rows, *again]):
        one, other = rows.get(law), again.get(law)
        if one is None or other is None:
            found.append(f"{law}: {'is not in it' if one is None else 'is no law of this model'}")
            continue
        told = [f"{name} {one.get(name)}, not {other[name]}" for name in ("passed", "unit")
                if one.get(name) != other[name]]  # fmt: skip
        if not _near(one.get("limit"), other["limit"], 1e-4 * other["limit"]):
            told.append(f"limit {one.get('limit')}, not {other['limit']}")
        was, now = one.get("measured"), other["measured"]
        if not told and not _near(was, now, other["limit"]):
            told.append(f"measured {was}, not {now}")
        found += [f"{law}: {', '.join(told)}"] if told else []
    return found


def _near(one: Any, other: float | None, limit: float) -> bool:
    if one is None or other is None:
        return one is other
    return isinstance(one, int | float) and abs(one - other) <= abs(limit)


def table(record: dict[str, Any]) -> str:
    """Law, what was measured, limit and verdict, one line each."""
    lines = [("law", "measured", "limit", "", "")]
    for row in record["rows"]:
        measured = "not finite" if row["measured"] is None else f"{row['measured']:.2g}"
        verdict = "pass" if row["passed"] else "FAIL"
        limit = f"{row['limit']:.2g} {row['unit']}"
        lines.append((row["law"], measured, limit, verdict, row["note"]))
    return aligned(lines)
