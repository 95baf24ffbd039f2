"""The process of a launch: runs cases of one stage, one after another, and appends a row for each.

A stage is a module with `run(case, setting) -> fields`. An exception ends the case and is recorded in its row.
"""

import faulthandler
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lines
from stage import LeftOutError, Setting


def main() -> None:
    """The order is JSON; when its time is over, a watchdog thread ends the process and prints a traceback."""
    order = json.loads(sys.argv[1])
    faulthandler.dump_traceback_later(max(order["until"] - time.time(), 1), exit=True)
    sys.path.insert(0, order["stages"])
    run = importlib.import_module(order["stage"]).run
    out = Path(order["out"])
    for case in order["cases"]:
        head = {"run": order["name"], "stage": order["stage"], "variant": order["variant"]}
        head["case"] = case
        fields = done(run, case, order, out, head)
        lines.append(out, head | fields)


def done(run: Callable, case: str, order: dict, out: Path, head: lines.Row) -> dict[str, Any]:
    """The fields that a case adds to its row."""
    rows = lines.read(out)
    setting = Setting(
        order["check"],
        order["variant"],
        order["until"],
        order["data"],
        [row for row in rows if row["run"] == order["name"]],
        rows,
        lambda fields: lines.append(out, head | fields | {"going_on": True}),
    )
    begin = time.perf_counter()
    try:
        fields = run(case, setting)
    except LeftOutError as error:
        return {"left_out": str(error)}
    except Exception as error:
        traceback.print_exc()
        first = str(error).partition("\n")[0][:300]
        fields = {
            "error": f"{type(error).__name__}: {first}",
            "said": traceback.format_exc()[-1500:],
        }
    return fields | {"seconds": round(time.perf_counter() - begin, 2)}


if __name__ == "__main__":
    main()
