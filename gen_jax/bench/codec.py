"""The cost of coding against sampling, the lower limit: the same steps without a return to the host at every site."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np

from gen_jax.bench import record, systems
from gen_jax.bench.timing import Clock, ratios, rounded, summary, turns
from gen_jax.coding import container
from gen_jax.coding.codec import Codec, Content
from gen_jax.coding.direct import Direct
from gen_jax.coding.frequencies import Decoder, Encoder, weights
from gen_jax.coding.walk import Programs
from gen_jax.density import root_key
from gen_jax.models.autoregressive.base import ancestral

METHOD = (
    "Encoding and decoding a file, compared with sampling as many images with the same random weights; the coded images"
    " are such samples. Every call of a compiled program is waited for and timed separately. `steps` is the share of"
    " time in calls that walk through the sites, `log_prob` that of the parallel pass that checks the size of the file,"
    " `host` the rest (frequencies, entropy coder, Python), all from the turn with the median share of the host. `step`"
    " is one visit of a site. `frequencies`, `put` and `take` are one call for all lanes, the mean of 200 calls."
)
# Systems, each with the factor by which its batch is smaller.
SYSTEMS = {
    "gated_pixel_cnn 28x28 grey, 2 levels": 1,
    "gated_pixel_cnn 28x28 grey": 1,
    "gated_pixel_cnn 32x32 colour": 4,
    "pixel_cnn_pp 28x28 grey": 1,
    "pixel_cnn_pp 32x32 colour": 4,
}
CALLS = 200
COLUMNS: record.Columns = {
    "system": lambda row: row["system"],
    "batch": lambda row: str(row["batch"]),
    "encode": lambda row: f"{row['encode_images_per_second']:.1f}/s",
    "decode": lambda row: f"{row['decode_images_per_second']:.1f}/s",
    "sample": lambda row: f"{row['sample_images_per_second']:.1f}/s",
    "decode in samples": lambda row: f"{row['decode_samples']:.2f}",
    "host of encode": lambda row: f"{row['encode_shares']['host']:.0%}",
    "host of decode": lambda row: f"{row['decode_shares']['host']:.0%}",
    "step": lambda row: f"{1e3 * row['step_seconds']:.2f} ms",
    "frequencies, put, take": lambda row: (
        " + ".join(f"{1e3 * row[f'{name}_seconds']:.3f}" for name in ("frequencies", "put", "take"))
        + " ms"
    ),
}


def measure(batch: int) -> dict[str, Any]:
    """One row per model: images per second, ratios to sampling, and shares of time."""
    rows = [
        _row(name, systems.MODELS[name], max(1, batch // part)) for name, part in SYSTEMS.items()
    ]
    return record.record("codec", METHOD, rows)


def _row(name: str, model: Any, batch: int) -> record.Row:
    key, variables = root_key(0), systems.initial(model)
    draw = jax.jit(lambda v, k: ancestral(model, v, k, batch))
    x = np.asarray(draw(variables, key)).astype(np.uint8)
    codec, content = Codec(model, variables), Content("npz", {"x": x})
    data, size = codec.compress(content)
    lanes = container.unpack(data)[0].lanes
    visits = model.num_sites * -(-batch // lanes)
    direct = cast(Direct, codec.transcoder(lanes))
    encode = Watched(direct, lambda: codec.compress(content))
    decode = Watched(direct, lambda: codec.decompress(data))
    seconds = turns({"sample": lambda: draw(variables, key), "encode": encode, "decode": decode})
    return {
        "system": name,
        "batch": batch,
        "lanes": lanes,
        "sites": model.num_sites,
        "levels": model.levels,
        "parameters": systems.size(variables),
        "bits_per_dim": rounded(size.record()["bits_per_dim"]),
        **{
            field: value
            for task, times in seconds.items()
            for field, value in (
                *summary(f"{task}_images_per_second", [batch / t for t in times]).items(),
                *summary(f"{task}_seconds", times).items(),
            )
        },
        **summary("encode_samples", ratios(seconds["encode"], seconds["sample"])),
        **summary("decode_samples", ratios(seconds["decode"], seconds["sample"])),
        "encode_shares": shares(seconds["encode"], encode.parts[1:]),
        "decode_shares": shares(seconds["decode"], decode.parts[1:]),
        **summary("step_seconds", [part["visit"] / visits for part in decode.parts[1:]]),
        **entropy_coder(direct, x),
    }


class Watched:
    """A run whose programs are waited for and timed; `parts` has the seconds of each program, for each run."""

    def __init__(self, direct: Direct, run: Callable[[], Any], clock: Clock = time.perf_counter):
        self.direct, self.run, self.clock = direct, run, clock
        self.parts: list[dict[str, float]] = []

    def __call__(self) -> Any:
        """Run once, timing each program."""
        plain = self.direct.programs
        self.parts.append(dict.fromkeys(plain._fields, 0.0))
        self.direct.programs = Programs(*map(self._watched, plain._fields, plain))
        try:
            return self.run()
        finally:
            self.direct.programs = plain

    def _watched(self, name: str, program: Callable) -> Callable:
        def watched(*args: Any, **options: Any) -> Any:
            begin = self.clock()
            result = jax.block_until_ready(program(*args, **options))
            self.parts[-1][name] += self.clock() - begin
            return result

        return watched


def shares(times: Sequence[float], parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Shares of time, which sum to 1, from the turn with the median share of the host."""
    rows = []
    for whole, part in zip(times, parts, strict=True):
        check = part["bits"] / whole
        steps = sum(part.values()) / whole - check
        rows.append({"steps": steps, "log_prob": check, "host": 1 - steps - check})
    rows.sort(key=lambda row: row["host"])
    return {name: rounded(share) for name, share in rows[len(rows) // 2].items()}


def entropy_coder(direct: Direct, x: np.ndarray) -> dict[str, Any]:
    """Seconds of one call for all lanes, with the probabilities and values of the first site."""
    empty, visit, *_ = direct.programs
    first = np.resize(x.reshape(len(x), -1), (direct.lanes, direct.model.event.size))
    symbols = first[:, direct.model.sites[0][0]].astype(np.int32)
    nothing = np.zeros((direct.lanes, direct.model.sites.shape[1]), np.int32)
    pmf = np.asarray(visit(direct.variables, empty(direct.variables, None), 0, nothing)[2])
    rows = weights(pmf)

    def put() -> Encoder:
        encoder = Encoder()
        for _ in range(CALLS):
            encoder.put(symbols, rows)
        return encoder

    words = put().words()

    def take() -> None:
        decoder = Decoder(words)
        for _ in range(CALLS):
            decoder.take(rows)

    def frequencies() -> None:
        for _ in range(CALLS):
            weights(pmf)

    seconds = turns({"frequencies": frequencies, "put": put, "take": take})
    return {
        field: value
        for name, times in seconds.items()
        for field, value in summary(f"{name}_seconds", [t / CALLS for t in times]).items()
    }
