"""A cheap answer to "has the source changed?", with no heavy import."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from agentloop.contracts.errors import EmptySource, SourceNotFound, SourceUnreadable
from agentloop.contracts.spec import CallableSource, DataSourceConfig
from agentloop.contracts.spec_data import IdxSource, SqlSource
from agentloop.data.gzip_stream import READ_BYTES
from agentloop.data.locate import folder_keys, is_remote, locate_files
from agentloop.data.source_file import SourceFile


def source_fingerprint(source_config: DataSourceConfig, base_dir: Path) -> str:
    """sha256 (hex) of what the source holds.

    Files: their bytes, streamed, and the ``key=value`` folders they are in. SQL and S3: what their
    servers tell of them. A callable: the code of its module and of the modules beside
    loop.yaml that it imports, and the versions of the installed packages that these import; what
    the function itself reads is not seen. Raises SourceNotFound, EmptySource, SourceUnreadable.
    """
    source = source_config.source
    if isinstance(source, SqlSource):
        from agentloop.data.sql_extract import fingerprint_sql

        return fingerprint_sql(source, base_dir)
    digest = hashlib.sha256()
    if isinstance(source, CallableSource):
        for part in _code_parts(source, base_dir):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()
    if is_remote(source.path):
        from agentloop.data.s3_files import fingerprint_s3

        digest.update(fingerprint_s3(source).encode())
        if isinstance(source, IdxSource):
            labels = source.model_copy(update={"path": source.labels})
            digest.update(fingerprint_s3(labels).encode())
        return digest.hexdigest()
    files = locate_files(source, base_dir)
    if isinstance(source, IdxSource):
        files += locate_files(source.model_copy(update={"path": source.labels}), base_dir)
    for part in _file_parts(files, source.path):
        digest.update(part)
    return digest.hexdigest()


def _file_parts(files: tuple[SourceFile, ...], source: str) -> Iterator[bytes]:
    try:
        if not any(file.size for file in files):
            raise EmptySource(source)
        for file in files:
            for key, value in folder_keys(file).items():
                yield f"{key}={value}\0".encode()
            digest = hashlib.sha256()
            with file.open() as stream:
                while block := stream.read(READ_BYTES):
                    digest.update(block)
            yield digest.digest()
    except OSError as error:
        raise SourceUnreadable(source, error.strerror or str(error)) from None


def module_file(module: str, base_dir: Path) -> Path | None:
    """The file of ``module`` beside loop.yaml, if there is one."""
    stem = base_dir.joinpath(*module.split("."))
    for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


def _code_parts(source: CallableSource, base_dir: Path) -> list[bytes]:
    module, function = source.target.split(":")
    if module_file(module, base_dir) is None and _installed(module.split(".")[0]) is None:
        raise SourceNotFound(source.target, next_step=_hint(module))
    parts = {f"target {function}": b""}
    queue, seen = [module], set[str]()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        path = module_file(name, base_dir)
        if path is None:
            top = name.split(".")[0]
            parts[f"package {top}"] = _installed(top) or b""
        else:
            code = path.read_bytes()
            parts[f"module {name}"] = code
            queue += _imports(code)
    return [key.encode() + b"\0" + parts[key] for key in sorted(parts)]


def _hint(module: str) -> str:
    return f"put {module.replace('.', '/')}.py beside loop.yaml, or install the package"


def _imports(code: bytes) -> list[str]:
    """Names of the modules that ``code`` imports; none where it is not Python."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError):
        return []
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return names + [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module]


def _installed(top: str) -> bytes | None:
    """What tells one installed version of a top-level package from another; None if absent.

    The distribution of the same name, and the package's first file, which is where most keep
    their version: asking every distribution what it provides takes 0.3 s.
    """
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    try:
        version = importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    origin = Path(spec.origin) if spec.origin else None
    code = origin.read_bytes() if origin is not None and origin.is_file() else b""
    return version.encode() + b"\0" + hashlib.sha256(code).digest()
