"""A git repository with DVC in it: one commit, tag and push a dataset version.

repo/datasets/<name>/              the rows, tracked by DVC
repo/datasets/<name>.dvc           DVC's pointer to them, in git
repo/datasets/<name>.schema.json   in git
repo/datasets/<name>.profile.json  in git
repo/datasets/<name>.version.json  in git: what the version is, but for its commit
remote/                            DVC's remote, a folder by default

The rows here, in DVC's cache and in the version's own folder are hard links to one read-only file,
where the file system has links; those in the remote are a second copy.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentloop.contracts.errors import VersioningFailed
from agentloop.data import dvc_remote
from agentloop.data.checkout_failed import CheckoutFailed
from agentloop.data.dvc_cache import DvcCache
from agentloop.data.dvc_remote import LOCAL, DvcRemote, config_of, config_text, told
from agentloop.data.files import link_or_copy, write_atomically
from agentloop.data.git_repo import GitRepo

if TYPE_CHECKING:
    from agentloop.contracts.spec_data import RemoteSpec

TEXTS = ("schema", "profile", "version")
Remotes = tuple[dict[str, DvcRemote], str]
_POINTER = re.compile(r"md5: ([0-9a-f]{32}\.dir)")


class DvcRepo:
    """The repository under ``data_dir``. The caller holds the lock of ``data_dir``, which is open
    as ``lock``.

    DVC runs in this process: each start of its command line takes more than a second.
    """

    def __init__(self, data_dir: Path, lock: int) -> None:
        self._data_dir = data_dir.resolve()
        self._root = self._data_dir / "repo"
        self._git = GitRepo(self._root, lock)
        self._cache = DvcCache(self._root / ".dvc" / "cache")

    def record(
        self,
        name: str,
        version: str,
        folder: Path,
        texts: Mapping[str, str],
        spec: RemoteSpec | None,
    ) -> str:
        """The git commit that pins the rows in ``folder`` as ``version``; made once a version.

        ``texts`` has those of ``TEXTS``. Rows are pushed before they are committed, and committed
        before they are tagged, so that a tag means everything is there. Raises VersioningFailed,
        OSError.
        """
        self._prepare()
        tag = f"{name}/{version}"
        if known := self._git.tag_commit(tag):
            return known
        remotes = self._remotes(spec)
        self._mend()
        self._pending.touch()
        subject = f"{name} {version}"
        # A recording that was cut short between the two has a commit and no tag.
        commit = self._git.commit_titled(subject)
        if not commit:
            self._add(name, folder, texts, remotes)
            write_atomically(self._config, config_text(*remotes))
            tracked = [f"datasets/{name}.dvc", *(f"datasets/{name}.{noun}.json" for noun in TEXTS)]
            self._git.run("add", "--", ".dvc", ".dvcignore", "datasets/.gitignore", *tracked)
            self._git.run("commit", "-q", "--allow-empty", "-m", subject)
            commit = self._git.run("rev-parse", "HEAD")
        self._git.run("tag", tag, commit)
        self._pending.unlink(missing_ok=True)
        return commit

    def restore(self, name: str, version: str, folder: Path) -> Mapping[str, str]:
        """Put the rows of a tagged version into ``folder``, as copies; returns its ``TEXTS``.

        They come from DVC's cache, or else from the first remote that has them. Raises
        CheckoutFailed if none has, or the version has no tag.
        """
        tag = f"{name}/{version}"
        if not self._git.tag_commit(tag):
            raise CheckoutFailed(f"git has no tag {tag}")
        pointer = self._pointer(tag)
        if not self._cache.is_whole(pointer):
            self._fetch(name, tag, pointer)
        for part, path in self._cache.members(pointer).items():
            shutil.copyfile(path, folder / Path(part).name)
        paths = {noun: f"datasets/{name}.{noun}.json" for noun in TEXTS}
        return {noun: self._git.show(tag, path) or "" for noun, path in paths.items()}

    def push_all(self) -> tuple[str, int]:
        """Push every tagged version to the remote in use, where it is not there yet; returns
        where that is, and how many files went. Raises VersioningFailed."""
        self._prepare()
        remotes, current = self._known_remotes()
        for tag in self._git.run("tag").splitlines():
            name, pointer = tag.rpartition("/")[0], self._pointer(tag)
            if not self._cache.has(pointer):
                self._fetch(name, tag, pointer)
        pushed: list[int] = []

        def run() -> None:
            with self._dvc((remotes, current)) as repo:
                pushed.append(repo.push(all_tags=True, workspace=False))

        told(run, remotes[current])
        return remotes[current].url, sum(pushed)

    @property
    def _pending(self) -> Path:
        """Is there while a version is being recorded, and after that was cut short."""
        return self._root / ".git" / "agentloop-pending"

    @property
    def _config(self) -> Path:
        return self._root / ".dvc" / "config"

    @property
    def _remote(self) -> Path:
        return self._data_dir / "remote"

    @property
    def _site(self) -> Path:
        return self._data_dir / "dvc-site"

    def _prepare(self) -> None:
        """Make the repository, or go on where a killed run stopped making it."""
        ready = self._root / ".git" / "agentloop-ready"
        if self._pending.exists() or not ready.exists():
            self._git.unlock()
        if ready.exists():
            return
        self._git.init()
        told(self._init_dvc)
        ready.touch()

    def _init_dvc(self) -> None:
        from dvc.repo import Repo

        with _variable("DVC_SITE_CACHE_DIR", str(self._site)):  # opened before there is a setting
            Repo.init(str(self._root), force=True).close()

    def _remotes(self, spec: RemoteSpec | None) -> Remotes:
        """Those that are known and the name of the one to push to: that of ``spec``, which is
        written down once it has taken something. Earlier ones stay, for what lies there."""
        remote = dvc_remote.remote_of(spec, self._remote)
        return {**self._known_remotes()[0], remote.name: remote}, remote.name

    def _known_remotes(self) -> Remotes:
        known, current = dvc_remote.read_remotes(self._config.read_text(encoding="utf-8"))
        return {**known, LOCAL: dvc_remote.remote_of(None, self._remote)}, current

    def _mend(self) -> None:
        """Drop what a recording that was cut short did not finish."""
        if not self._pending.exists():
            return
        shutil.rmtree(self._site, ignore_errors=True)
        self._drop_unfinished()

    def _drop_unfinished(self) -> None:
        for store in (self._cache, DvcCache(self._remote)):
            store.drop_unfinished()

    def _add(self, name: str, folder: Path, texts: Mapping[str, str], remotes: Remotes) -> None:
        """Track and push; if that fails, give back the space it took here."""
        new = {part.stat().st_ino for part in folder.glob("part-*.parquet")}
        try:
            self._place(name, folder, texts)
            self._track(name, folder, remotes)
        except Exception:
            shutil.rmtree(self._root / "datasets" / name, ignore_errors=True)
            self._cache.drop_linked(new)
            self._drop_unfinished()
            raise

    def _place(self, name: str, folder: Path, texts: Mapping[str, str]) -> None:
        """Put a version's files where DVC and git track them."""
        rows = self._root / "datasets" / name
        shutil.rmtree(rows, ignore_errors=True)
        rows.mkdir(parents=True)
        _link_parts(folder, rows)
        for noun in TEXTS:
            write_atomically(rows.with_name(f"{name}.{noun}.json"), texts[noun])

    def _track(self, name: str, folder: Path, remotes: Remotes) -> None:
        rows = self._root / "datasets" / name

        def run() -> None:
            with self._dvc(remotes) as repo:
                repo.add([str(rows)])
                if not self._share(rows, folder):
                    pointer = _POINTER.search(rows.with_name(f"{name}.dvc").read_text())
                    self._cache.drop_damaged(pointer[1] if pointer else "")
                    _link_parts(folder, rows)
                    repo.add([str(rows)])
                told(partial(repo.push, targets=[f"{rows}.dvc"]), remotes[0][remotes[1]])

        told(run)

    def _share(self, rows: Path, folder: Path) -> bool:
        """Make the parts in ``folder`` links to the cache's, where an earlier version has the same
        ones; False if the cache's are not what their name says."""
        for part in sorted(folder.glob("part-*.parquet")):
            kept = rows / part.name
            if kept.samefile(part):
                continue
            if not filecmp.cmp(part, kept, shallow=False):
                return False
            twin = part.with_name(f".{part.name}")
            link_or_copy(kept, twin)
            twin.replace(part)
        return True

    def _fetch(self, name: str, tag: str, pointer: str) -> None:
        """Bring a version's objects into the cache, from the first remote that has them."""
        self._cache.drop_damaged(pointer)
        remotes, current = self._known_remotes()
        failure: VersioningFailed | None = None
        for remote in sorted(remotes.values(), key=lambda other: other.name != current):
            try:
                told(partial(self._fetch_from, remote, name, tag), remote)
            except VersioningFailed as error:
                failure = failure or error
            if self._cache.is_whole(pointer):
                return
        reason = f" ({failure.reason})" if failure else ""
        raise CheckoutFailed(
            f"neither DVC's cache nor a remote has all rows of {tag}{reason}",
            next_step="make the remote answer, or ingest the same data again",
        )

    def _fetch_from(self, remote: DvcRemote, name: str, tag: str) -> None:
        with self._dvc(self._known_remotes()) as repo:
            targets = [f"datasets/{name}.dvc"]
            repo.fetch(targets=targets, revs=[tag], workspace=False, remote=remote.name)

    def _pointer(self, tag: str) -> str:
        """The name of DVC's object that lists a version's files."""
        name = tag.rpartition("/")[0]
        found = _POINTER.search(self._git.show(tag, f"datasets/{name}.dvc") or "")
        if found is None:
            raise CheckoutFailed(f"the tag {tag} has no pointer of DVC")
        return found[1]

    @contextmanager
    def _dvc(self, remotes: Remotes) -> Iterator[Any]:
        """DVC's repository. Its settings are given here, not only in its file: at an earlier commit
        that knew fewer remotes, and the state folder may have been moved."""
        from dvc.repo import Repo

        settings = config_of(*remotes)
        settings["core"]["site_cache_dir"] = str(self._site)
        # Of a killed process: our own lock says that no other DVC runs here.
        (self._root / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
        with (
            _variable("DVC_SITE_CACHE_DIR", str(self._site)),
            Repo(str(self._root), config=settings) as repo,
        ):
            yield repo


def _link_parts(folder: Path, rows: Path) -> None:
    for part in sorted(folder.glob("part-*.parquet")):
        (rows / part.name).unlink(missing_ok=True)
        link_or_copy(part, rows / part.name)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a moment."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
