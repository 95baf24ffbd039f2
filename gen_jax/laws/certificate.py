"""certificate.json: which laws hold on which weights. It is valid only for the same parameters and config."""

from typing import Any, Literal, NamedTuple

from gen_jax import fingerprint, stored
from gen_jax.errors import InputError
from gen_jax.runs.workdir import WorkDir
from gen_jax.terminal import aligned
from gen_jax.typing import Variables

# Anyone who can write into the folder could have written it; `certify --check` computes it again.
CERTIFIED = "certified by the certificate in the folder"


class Standing(NamedTuple):
    """What a certificate says about given weights: a state and a sentence."""

    state: Literal["certified", "failed", "stale", "damaged", "none"]
    sentence: str
    record: dict[str, Any] | None = None

    @property
    def certified(self) -> bool:
        """Whether all laws hold on these weights."""
        return self.state == "certified"

    @property
    def fits(self) -> bool:
        """Whether there is a certificate of these weights."""
        return self.state in ("certified", "failed")


def config_hash(workdir: WorkDir) -> str:
    """SHA-256 of the experiment in config.json."""
    return fingerprint.of_tree(workdir.read()["experiment"])


def standing(workdir: WorkDir, variables: Variables) -> Standing:
    """Whether the work directory's certificate is of these weights, and whether all its laws hold."""
    if not workdir.certificate.is_file():
        return Standing("none", "not certified")
    try:
        record = stored.record(workdir.certificate)
        hashes = (record["parameters"], record["config"])
        step, laws = record["step"], {row["law"]: row["passed"] is True for row in record["rows"]}
        table(record)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Standing("damaged", "not certified: certificate.json is damaged")
    if hashes != (fingerprint.of_variables(variables), config_hash(workdir)):
        return Standing(
            "stale",
            f"not certified: the certificate is stale, it is for other weights or another config (step {step})",
        )
    failed = [law for law, passed in laws.items() if not passed]
    if failed or not laws:
        return Standing("failed", f"not certified: fails {', '.join(failed) or 'empty'}", record)
    return Standing("certified", CERTIFIED, record)


def settings(record: dict[str, Any]) -> tuple[str, int, int]:
    """The split, number of examples and seed of a certificate; InputError if they are missing."""
    split, examples, seed = (record.get(name) for name in ("split", "num_examples", "seed"))
    if not (isinstance(split, str) and _natural(examples) and _natural(seed)) or examples == 0:
        values = (split, examples, seed)
        raise InputError(
            f"certificate.json has no valid split, number of examples and seed: {values!r:.200}"
        )
    return split, int(examples or 0), int(seed or 0)


def _natural(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**32


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """How a certificate `there` differs from one computed again, `here`: step, laws, limits and verdicts.

    A measured value is rounding, which differs between machines: it may differ by less than the limit of its law. A
    limit that is computed from the model's bits may differ by a factor of 1e-4.
    """
    lines = []
    if there["step"] != here["step"]:
        lines.append(f"it is of step {there['step']}, the weights are of step {here['step']}")
    rows, again = ({row["law"]: row for row in record["rows"]} for record in (there, here))
    for law in dict.fromkeys([*rows, *again]):
        old, new = rows.get(law), again.get(law)
        if old is None or new is None:
            lines.append(
                f"{law}: {'is not in it' if old is None else 'is not a law of this model'}"
            )
            continue
        changes = [f"{name} {old.get(name)}, not {new[name]}" for name in ("passed", "unit")
                   if old.get(name) != new[name]]  # fmt: skip
        if not _near(old.get("limit"), new["limit"], 1e-4 * new["limit"]):
            changes.append(f"limit {old.get('limit')}, not {new['limit']}")
        if not changes and not _near(old.get("measured"), new["measured"], new["limit"]):
            changes.append(f"measured {old.get('measured')}, not {new['measured']}")
        lines += [f"{law}: {', '.join(changes)}"] if changes else []
    return lines


def _near(old: Any, new: float | None, limit: float) -> bool:
    if old is None or new is None:
        return old is new
    return isinstance(old, int | float) and abs(old - new) <= abs(limit)


def table(record: dict[str, Any]) -> str:
    """The rows as text, one line each: law, measured value, limit, verdict and note."""
    lines = [("law", "measured", "limit", "", "")]
    for row in record["rows"]:
        measured = "not finite" if row["measured"] is None else f"{row['measured']:.2g}"
        verdict = "pass" if row["passed"] else "FAIL"
        limit = f"{row['limit']:.2g} {row['unit']}"
        lines.append((row["law"], measured, limit, verdict, row["note"]))
    return aligned(lines)
