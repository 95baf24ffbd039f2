"""A copy of a run in an object store, or wherever fsspec writes to: `gen-jax train --mirror URL`.

After each save a thread of the first process copies the small files of the work directory and its finished checkpoints,
and removes from the mirror what the folder has removed. `checkpoints/STEP.json`, the list of a checkpoint's files, is
written last and removed first, so that a half copy is never taken for a checkpoint. A mirror that does not answer
costs a warning. `mirror.json`, the same in folder and mirror, tells runs apart: none writes over another one's mirror.
"""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from gen_jax import disk, processes
from gen_jax.errors import InputError, first_line
from gen_jax.runs.logging import LOG
from gen_jax.runs.workdir import WorkDir

IDENTITY, CONFIG, CHECKPOINTS, LISTING = "mirror.json", "config.json", "checkpoints", ".json"
ELSEWHERE = (CHECKPOINTS, "damaged", "lock")  # of a folder, what is no small file
EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}
PATIENCE = 120.0  # seconds without a byte sent after which the end of a run no longer waits
POLL = 0.1  # seconds between two looks at whether a save has ended

Stamps = dict[
    str, list[int]
]  # by name in a checkpoint's folder: size in bytes and time of change in ns


class Mirror:
    """The mirror of a work directory, which the first process fills; InputError if fsspec cannot write to the URL."""

    def __init__(self, url: str, workdir: WorkDir):
        import fsspec

        self.url, self.folder = url, workdir.path.absolute()
        scheme, _, rest = url.partition("://")
        if not rest:
            raise InputError(
                f"--mirror {url} is not a URL such as s3://BUCKET/NAME or gs://BUCKET/NAME"
            )
        local = {"auto_mkdir": True} if scheme == "file" else {}
        try:
            self.store, self.root = fsspec.url_to_fs(url, use_listings_cache=False, **local)
        except Exception as error:  # each protocol raises its own
            extra = f"; pip install 'gen_jax[{EXTRAS[scheme]}]'" if scheme in EXTRAS else ""
            raise InputError(f"--mirror {url}: {first_line(error)}{extra}") from error
        if local and Path(self.root).is_relative_to(self.folder):
            raise InputError(f"--mirror {url} is inside the work directory {self.folder}")
        self._callback = fsspec.callbacks.Callback(hooks={"moved": self._moved})
        self._listings: dict[int, Stamps] = {}  # those in the mirror
        self._copied: Stamps = {}  # small files, by name in the folder
        self._asked, self._last = threading.Event(), threading.Event()
        self._saving: Callable[[], bool] = lambda: False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._moved()

    def restore(self) -> None:
        """If the mirror is further than the folder, copy what the folder lacks.

        InputError if the mirror is of another run, or if the folder is empty and the mirror cannot be read.
        """
        try:
            there = self._there()
            ours = self._is_ours(there)
        except Exception as error:  # each protocol raises its own
            if self._run_here():
                self._warn(error, "the folder goes on without it, and the next save tries again")
                return
            raise InputError(
                f"cannot read the mirror {self.url} ({_reason(error)}), so it is not known whether {self.folder} is"
                " to be restored from it"
            ) from error
        if not ours:
            raise InputError(
                f"the mirror {self.url} holds another run than {self.folder}; use another --mirror"
            )
        before, steps = max(self._stamps(), default=-1), _steps(there)
        begun = (self.folder / CONFIG).exists()
        if max(steps, default=-1) <= before and (begun or CONFIG not in there):
            return
        try:
            self._fetch(there)
        except Exception as error:
            raise InputError(
                f"cannot restore {self.folder} from {self.url} ({_reason(error)}); the same command goes on with it"
            ) from error
        after = max(self._stamps(), default=-1)
        if after < 0 and steps:
            raise InputError(
                f"the mirror {self.url} has no whole checkpoint, though it lists {len(steps)}"
            )
        LOG.info("%s: restored from %s up to step %d", self.folder, self.url, max(after, 0))

    def saved(self, saving: Callable[[], bool]) -> None:
        """Copy in the background once the save that has begun is over: when `saving` says so."""
        if processes.first():
            self._saving = saving
            self._ask()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Copy once more at the end of the block; all processes wait for it if the block ends in all alike."""
        together = False
        try:
            yield
            together = True
        except BaseException as error:
            together = processes.common(error)
            raise
        finally:
            if processes.first():
                self._finish()
            if together:
                processes.of_first(None)

    def _finish(self) -> None:
        """Copy for the last time, as long as bytes are sent."""
        self._saving = lambda: False
        self._last.set()
        self._moved()
        self._ask()
        while self._thread.is_alive():
            self._thread.join(POLL)
            if time.monotonic() - self._beat > PATIENCE:
                LOG.warning(
                    "the mirror %s does not answer; the folder %s has all", self.url, self.folder
                )
                return

    def _ask(self) -> None:
        self._asked.set()
        if not self._thread.is_alive():
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            last = self._last.is_set()
            try:
                self._copy()
            except Exception as error:  # each protocol raises its own
                then = f"the folder {self.folder} has all" if last else "the next save tries again"
                self._warn(error, then)
            if last:
                return

    def _copy(self) -> None:
        """Make the mirror equal to the folder; steps after the newest one of the folder are kept."""
        there = self._there()
        if not self._is_ours(there):
            raise InputError("it holds another run")
        if IDENTITY not in there:
            identity = self._identity() or json.dumps({"run": secrets.token_hex(16)}) + "\n"
            disk.write_atomically(self.folder / IDENTITY, identity)
            self.store.pipe_file(self._at(IDENTITY), identity.encode())
        here = self._settled()
        for name, stamp in self._small_files().items():
            if self._copied.get(name) != stamp:
                self.store.pipe_file(self._at(name), disk.read_plain(self.folder / name))
                self._copied[name] = stamp
                self._moved()
        for step, stamps in here.items():
            if self._listing(step, there) != stamps:
                self._remove(step, there)
                self._send(step, stamps)
        for step in _folders(there):
            if step not in here and step < max(here, default=0):
                self._remove(step, there)

    def _send(self, step: int, stamps: Stamps) -> None:
        """Copy a checkpoint, unless it is removed meanwhile."""
        folder = self.folder / CHECKPOINTS / str(step)
        try:
            for name in stamps:
                place = self._at(f"{CHECKPOINTS}/{step}/{name}")
                self.store.put_file(str(folder / name), place, callback=self._callback)
                self._moved()
        except FileNotFoundError:
            if folder.exists():
                raise
        if _stamps(folder) == stamps:
            self.store.pipe_file(self._at(_listed(step)), json.dumps(stamps).encode())
            self._listings[step] = stamps

    def _remove(self, step: int, there: dict[str, int]) -> None:
        """Remove a checkpoint from the mirror, its list first."""
        self._listings.pop(step, None)
        if _listed(step) in there:
            self.store.rm_file(self._at(_listed(step)))
        if names := [name for name in there if name.startswith(f"{CHECKPOINTS}/{step}/")]:
            self.store.rm([*map(self._at, names)])
        self._moved()

    def _fetch(self, there: dict[str, int]) -> None:
        """Copy everything that the folder lacks: what tells the run apart first, the newest checkpoint last."""
        small = [name for name in there if not name.startswith(f"{CHECKPOINTS}/")]
        for name in sorted(small, key=lambda name: (name != IDENTITY, name != CONFIG, name)):
            place = self.folder / _plain(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            disk.write_atomically(place, self.store.cat_file(self._at(name)))
        (self.folder / CHECKPOINTS).mkdir(exist_ok=True)
        for step in sorted(set(_steps(there)) - set(self._stamps())):
            try:
                self._fetch_step(step, there)
            except (FileNotFoundError, ValueError, TypeError) as error:
                LOG.warning("checkpoint %d of %s is damaged (%s)", step, self.url, _reason(error))

    def _fetch_step(self, step: int, there: dict[str, int]) -> None:
        stamps = self._listing(step, there) or {}
        with disk.new_folder(self.folder / CHECKPOINTS / str(step)) as folder:
            for name, (size, changed) in stamps.items():
                place = folder / _plain(name)
                place.parent.mkdir(parents=True, exist_ok=True)
                self.store.get_file(self._at(f"{CHECKPOINTS}/{step}/{name}"), str(place))
                if place.stat().st_size != size:
                    raise ValueError(f"{name} has not {size} bytes")
                os.utime(place, ns=(changed, changed))

    def _there(self) -> dict[str, int]:
        """Sizes of all files of the mirror by name."""
        found = self.store.find(self.root, detail=True)
        self._moved()
        names = {name[len(self.root) :].lstrip("/"): info["size"] for name, info in found.items()}
        return {name: size for name, size in names.items() if name}

    def _is_ours(self, there: dict[str, int]) -> bool:
        """Whether the mirror is free, or of the same run as the folder, or the folder has no run."""
        if IDENTITY not in there or not self._run_here():
            return True
        return self.store.cat_file(self._at(IDENTITY)).decode() == self._identity()

    def _identity(self) -> str:
        path = self.folder / IDENTITY
        return disk.read_plain(path).decode() if path.exists() else ""

    def _run_here(self) -> bool:
        """Whether the folder holds anything but what a killed process may leave."""
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        return any(not path.name.startswith(disk.TEMPORARY) for path in there)

    def _listing(self, step: int, there: dict[str, int]) -> Stamps | None:
        """The files of a finished checkpoint in the mirror."""
        if step not in self._listings and _listed(step) in there:
            self._listings[step] = json.loads(self.store.cat_file(self._at(_listed(step))))
        return self._listings.get(step)

    def _settled(self) -> dict[int, Stamps]:
        """`_stamps` at a time when nothing is saved, and so nothing removed."""
        while True:
            while self._saving():
                time.sleep(POLL)
                self._moved()
            here = self._stamps()
            if not self._saving():
                return here

    def _stamps(self) -> dict[int, Stamps]:
        """The files of each finished checkpoint of the folder, by step."""
        folder = self.folder / CHECKPOINTS
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return {
            step: _stamps(folder / str(step)) for step in sorted(map(int, filter(_is_step, names)))
        }

    def _small_files(self) -> Stamps:
        """Files of the folder beside the checkpoints."""
        parts = [path for path in self.folder.iterdir() if path.name not in ELSEWHERE]
        found = [path for part in parts for path in (part.rglob("*") if part.is_dir() else [part])]
        return {
            path.relative_to(self.folder).as_posix(): _stamp(path)
            for path in found
            if path.is_file() and not path.name.startswith(disk.TEMPORARY)
        }

    def _at(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _moved(self, *args: Any, **named: Any) -> None:
        """Note that the mirror answers."""
        self._beat = time.monotonic()

    def _warn(self, error: Exception, then: str) -> None:
        LOG.warning("the mirror %s fails (%s); %s", self.url, _reason(error), then)


def check_folder(path: Path) -> None:
    """InputError if the path of a work directory is a URL."""
    scheme = path.parts[0] if path.parts else ""
    if scheme.endswith(":") and len(scheme) > 2:
        raise InputError(
            f"--workdir {path} looks like a URL, but an object store can neither lock nor rename: train in a folder,"
            f" and --mirror {scheme}//... keeps a copy of it"
        )


def _steps(there: dict[str, int]) -> list[int]:
    """The finished checkpoints of a mirror."""
    return [step for step in _folders(there) if _listed(step) in there]


def _folders(there: dict[str, int]) -> list[int]:
    """All checkpoints of a mirror, also half copies."""
    paths = [PurePosixPath(name).parts for name in there]
    names = {path[1].removesuffix(LISTING) for path in paths if path[0] == CHECKPOINTS}
    return sorted(map(int, filter(_is_step, names)))


def _listed(step: int) -> str:
    return f"{CHECKPOINTS}/{step}{LISTING}"


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _stamps(folder: Path) -> Stamps:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _stamp(path) for path in files}


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _plain(name: str) -> PurePosixPath:
    """The relative path; ValueError if it leads out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name} is not inside")
    return path


def _reason(error: Exception) -> str:
    return f"{first_line(error):.200}"
