"""A git repository with DVC in it: one commit, tag and push a dataset version.

repo/datasets/<name>/              the rows, tracked by DVC
repo/datasets/<name>.dvc           DVC's pointer to them, in git
repo/datasets/<name>.schema.json   in git
repo/datasets/<name>.profile.json  in git
repo/datasets/<name>.version.json  in git: what the version is, but for its commit
remote/                            DVC's remote, a folder by default

The rows here, in DVC's cache and in the version's own folder are hard links to one read-only file,
where the file system has links; those in the remote are a second copy. To push all versions to a
remote that was changed: ``cd repo && dvc push --all-tags``.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentloop.contracts.errors import VersioningFailed
from agentloop.data.checkout_failed import CheckoutFailed
from agentloop.data.dvc_remote import LOCAL, DvcRemote, config_text, read_remotes, remote_of, told
from agentloop.data.files import READ_ONLY, link_or_copy, write_atomically
from agentloop.data.git_repo import GitRepo

if TYPE_CHECKING:
    from agentloop.contracts.spec_data import RemoteSpec

TEXTS = ("schema", "profile", "version")
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
        remote = self._configure(remote_of(spec, self._remote))
        self._mend()
        subject = f"{name} {version}"
        commit = self._git.commit_titled(
            subject
        )  # of a recording that was cut short before its tag
        if not commit:
            self._pending.touch()
            self._place(name, folder, texts)
            self._track(name, folder, remote)
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
        pointer = _POINTER.search(self._git.show(tag, f"datasets/{name}.dvc") or "")
        if pointer is None:
            raise CheckoutFailed(f"the tag {tag} has no pointer of DVC")
        if not self._whole(pointer[1]):
            self._fetch(name, tag, pointer[1])
        for member in self._members(pointer[1]):
            shutil.copyfile(self._object(member["md5"]), folder / Path(member["relpath"]).name)
        paths = {noun: f"datasets/{name}.{noun}.json" for noun in TEXTS}
        return {noun: self._git.show(tag, path) or "" for noun, path in paths.items()}

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
        self._git.unlock()
        (self._root / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
        ready = self._root / ".git" / "agentloop-ready"
        if ready.exists():
            return
        self._git.init()
        told(self._init_dvc)
        ready.touch()

    def _init_dvc(self) -> None:
        from dvc.repo import Repo

        with _variable("DVC_SITE_CACHE_DIR", str(self._site)):  # opened before there is a setting
            Repo.init(str(self._root), force=True).close()

    def _configure(self, remote: DvcRemote) -> DvcRemote:
        """Push to ``remote`` from now on; earlier ones stay known, for what lies there."""
        before = self._config.read_text(encoding="utf-8")
        known = {
            **read_remotes(before)[0],
            LOCAL: remote_of(None, self._remote),
            remote.name: remote,
        }
        text = config_text(known, remote.name)
        if text != before:
            write_atomically(self._config, text)
        return remote

    def _mend(self) -> None:
        """After a recording that was cut short, drop objects that DVC did not finish.

        DVC makes an object read-only last, and takes one that exists for one that is whole.
        """
        if not self._pending.exists():
            return
        shutil.rmtree(self._site, ignore_errors=True)
        for store in (self._root / ".dvc" / "cache", self._remote):
            for path in (store / "files" / "md5").glob("*/*"):
                if path.stat().st_mode & 0o777 != READ_ONLY and not _is_named_by_content(path):
                    path.unlink()

    def _place(self, name: str, folder: Path, texts: Mapping[str, str]) -> None:
        """Put a version's files where DVC and git track them."""
        rows = self._root / "datasets" / name
        shutil.rmtree(rows, ignore_errors=True)
        rows.mkdir(parents=True)
        _link_parts(folder, rows)
        for noun in TEXTS:
            write_atomically(rows.with_name(f"{name}.{noun}.json"), texts[noun])

    def _track(self, name: str, folder: Path, remote: DvcRemote) -> None:
        rows = self._root / "datasets" / name

        def run() -> None:
            with self._dvc() as repo:
                repo.add([str(rows)])
                if not self._share(rows, folder):
                    self._drop_damaged(name)
                    _link_parts(folder, rows)
                    repo.add([str(rows)])
                told(partial(repo.push, targets=[f"{rows}.dvc"]), remote)

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

    def _drop_damaged(self, name: str) -> None:
        """Drop the objects of the version in the work tree that are not what their name says."""
        pointer = (self._root / "datasets" / f"{name}.dvc").read_text(encoding="utf-8")
        found = _POINTER.search(pointer)
        for member in self._members(found[1]) if found else ():
            path = self._object(member["md5"])
            if not _is_named_by_content(path):
                path.unlink()

    def _fetch(self, name: str, tag: str, pointer: str) -> None:
        """Bring a version's objects into the cache, from the first remote that has them."""
        for path in (self._object(pointer), *map(self._member_object, self._members(pointer))):
            if path.is_file() and not _is_named_by_content(path):
                path.unlink()
        remotes, current = read_remotes(self._config.read_text(encoding="utf-8"))
        failure: VersioningFailed | None = None
        for remote in sorted(remotes.values(), key=lambda other: other.name != current):
            try:
                told(partial(self._fetch_from, remote, name, tag), remote)
            except VersioningFailed as error:
                failure = failure or error
            if self._whole(pointer):
                return
        reason = f" ({failure.reason})" if failure else ""
        raise CheckoutFailed(
            f"neither DVC's cache nor a remote has all rows of {tag}{reason}",
            next_step="make the remote answer, or ingest the same data again",
        )

    def _fetch_from(self, remote: DvcRemote, name: str, tag: str) -> None:
        with self._dvc() as repo:
            targets = [f"datasets/{name}.dvc"]
            repo.fetch(targets=targets, revs=[tag], workspace=False, remote=remote.name)

    def _whole(self, pointer: str) -> bool:
        """Whether the cache has all of a version, byte for byte."""
        if not _is_named_by_content(self._object(pointer)):
            return False
        return all(_is_named_by_content(self._member_object(m)) for m in self._members(pointer))

    def _members(self, pointer: str) -> list[dict[str, Any]]:
        try:
            members: list[dict[str, Any]] = json.loads(self._object(pointer).read_bytes())
        except (FileNotFoundError, ValueError):
            return []
        return members

    def _member_object(self, member: dict[str, Any]) -> Path:
        return self._object(member["md5"])

    def _object(self, digest: str) -> Path:
        return self._root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]

    @contextmanager
    def _dvc(self) -> Iterator[Any]:
        """DVC's repository. What is absolute is set here and not in its file: the state folder may
        be moved."""
        from dvc.repo import Repo

        here = {
            "core": {"site_cache_dir": str(self._site)},
            "remote": {LOCAL: {"url": str(self._remote)}},
        }
        with (
            _variable("DVC_SITE_CACHE_DIR", str(self._site)),
            Repo(str(self._root), config=here) as repo,
        ):
            yield repo


def _link_parts(folder: Path, rows: Path) -> None:
    for part in sorted(folder.glob("part-*.parquet")):
        (rows / part.name).unlink(missing_ok=True)
        link_or_copy(part, rows / part.name)


def _is_named_by_content(path: Path) -> bool:
    """Whether one of DVC's objects is there and has the md5 that it is named after."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
    except FileNotFoundError:
        return False
    return digest == path.parent.name + path.name.removesuffix(".dir")


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
