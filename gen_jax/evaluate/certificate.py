"""certificate.json: which laws held on which weights. It counts only for the same parameters under the same config."""

import json
from typing import Any, Literal, NamedTuple

from gen_jax import fingerprint
from gen_jax.evaluate.table import aligned
from gen_jax.train.workdir import WorkDir
from gen_jax.typing import Variables


class Standing(NamedTuple):
    """What a certificate says about given weights, and the words for it."""

    state: Literal["certified", "failed", "stale", "damaged", "none"]
    sentence: str
    record: dict[str, Any] | None = None

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
        record = json.loads(workdir.certificate.read_text())
        of = (record["parameters"], record["config"])
        step, laws = record["step"], {row["law"]: row["passed"] is True for row in record["rows"]}
    except (ValueError, KeyError, TypeError):
        return Standing("damaged", "not certified: certificate.json is damaged")
    if of != (fingerprint.of_variables(variables), config_hash(workdir)):
        return Standing(
            "stale",
            f"not certified: the certificate is stale, it is of other weights or another config (step {step})",
        )
    failed = [law for law, passed in laws.items() if not passed]
    if failed or not laws:
        return Standing("failed", f"not certified: fails {', '.join(failed) or 'empty'}", record)
    return Standing("certified", "certified", record)


def table(record: dict[str, Any]) -> str:
    """Law, what was measured, limit and verdict, one line each."""
    lines = [("law", "measured", "limit", "", "")]
    for row in record["rows"]:
        measured = "not finite" if row["measured"] is None else f"{row['measured']:.2g}"
        verdict = "pass" if row["passed"] else "FAIL"
        limit = f"{row['limit']:.2g} {row['unit']}"
        lines.append((row["law"], measured, limit, verdict, row["note"]))
    return aligned(lines)
