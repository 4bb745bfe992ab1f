import numpy as np
import pytest

from agentloop.contracts import ArtifactUnverified, ColumnSchema, DataSchema
from agentloop.lifecycle import (
    InputColumn,
    Signature,
    build_reference,
    fit_features,
    open_bundle,
    seal_bundle,
    write_noun,
)
from agentloop.lifecycle.bundle import FEATURES, MANIFEST, MODEL, REFERENCE, SIGNATURE

SCHEMA = DataSchema((ColumnSchema("x", "number"), ColumnSchema("y", "category")), target="y")


@pytest.fixture
def folder(tmp_path):
    columns = {"x": np.arange(8.0), "y": np.array(["a", "b"] * 4, object)}
    (tmp_path / MODEL).write_bytes(b"onnx")
    write_noun(tmp_path, FEATURES, fit_features(columns, SCHEMA))
    signature = Signature("m", "binary", (InputColumn("x", "FP64"),), "y", ("a", "b"))
    write_noun(tmp_path, SIGNATURE, signature)
    write_noun(tmp_path, REFERENCE, build_reference(columns, SCHEMA, columns["y"]))
    return tmp_path


def test_a_sealed_bundle_opens_with_its_digest(folder):
    digest = seal_bundle(folder)
    bundle = open_bundle(folder, digest)
    assert bundle.digest == digest
    assert bundle.signature.classes == ("a", "b")
    assert bundle.features.names == ("x",)


def test_sealing_again_gives_the_same_digest(folder):
    assert seal_bundle(folder) == seal_bundle(folder)


def test_a_bundle_without_a_part_is_not_sealed(folder):
    (folder / MODEL).unlink()
    with pytest.raises(ArtifactUnverified, match=MODEL):
        seal_bundle(folder)


@pytest.mark.parametrize("name", [MODEL, FEATURES, SIGNATURE, REFERENCE, MANIFEST])
def test_a_part_that_was_changed_is_refused(folder, name):
    digest = seal_bundle(folder)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ArtifactUnverified):
        open_bundle(folder, digest)


@pytest.mark.parametrize("name", [MODEL, FEATURES, SIGNATURE, REFERENCE, MANIFEST])
def test_a_part_that_is_gone_is_refused(folder, name):
    seal_bundle(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactUnverified):
        open_bundle(folder)


def test_a_bundle_sealed_anew_does_not_pass_for_the_registered_one(folder):
    digest = seal_bundle(folder)
    (folder / MODEL).write_bytes(b"another")
    seal_bundle(folder)
    with pytest.raises(ArtifactUnverified, match="registered"):
        open_bundle(folder, digest)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 1}', '{"files": {}}', '{"files": []}'])
def test_a_manifest_that_says_nothing_is_refused(folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ArtifactUnverified):
        open_bundle(folder)


def test_a_manifest_cannot_point_outside_the_bundle(folder):
    seal_bundle(folder)
    manifest = folder / MANIFEST
    manifest.write_text(manifest.read_text().replace('{"files":{', '{"files":{"../x":"00",'))
    with pytest.raises(ArtifactUnverified):
        open_bundle(folder)


def test_a_sealed_part_that_is_no_valid_noun_is_refused(folder):
    (folder / SIGNATURE).write_text('{"model": 1}')
    seal_bundle(folder)
    with pytest.raises(ArtifactUnverified, match=SIGNATURE):
        open_bundle(folder)
