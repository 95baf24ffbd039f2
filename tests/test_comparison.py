"""What a comparison of two results counts as the same quantity."""

from gen_jax.reproduce import comparison
from gen_jax.runs import results


def test_an_error_by_another_method_is_another_quantity():
    """Results of a text from before its windows counted as dependent are not called different for that."""
    found = {"nats": 2.0, "bits_per_dim": 0.5, "protocol": "of step 2", "stderr": 0.3}
    found["stderr_method"] = "Newey-West, 5 lags"
    for method, passed in (("independent examples", True), ("Newey-West, 5 lags", False)):
        recorded = found | {"stderr": 0.1, "stderr_method": method}
        rows = {row.field: row for row in comparison.measured(recorded, found, same_bits=True)}
        assert rows["stderr"].passed == passed
        assert rows["nats"].passed
    assert results.BEFORE_RECORDED["stderr_method"] == "independent examples"
