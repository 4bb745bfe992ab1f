import stat
from dataclasses import replace

import pytest

from agentloop.contracts import ArtifactUnverified, ValidationReport
from agentloop.lifecycle import open_signer, verify_report
from agentloop.lifecycle.signing import PRIVATE_KEY
from agentloop.lifecycle.testing import candidate

DIGEST = "d" * 64


def report(approved=True):
    return ValidationReport(
        model_version=candidate(),
        test_results={},
        deployment_approved=approved,
        recommendations=(),
        model_digest=DIGEST,
    )


@pytest.fixture
def signer(tmp_path):
    return open_signer(tmp_path / "keys")


def test_a_signed_approval_is_verified(signer):
    assert verify_report(signer.sign(report()), signer.public_key, DIGEST) == report()


def test_one_folder_has_one_key_that_its_owner_alone_reads(signer, tmp_path):
    assert open_signer(tmp_path / "keys").public_key == signer.public_key
    assert stat.S_IMODE((tmp_path / "keys" / PRIVATE_KEY).stat().st_mode) == 0o600


def test_a_body_that_was_changed_is_refused(signer):
    refused = signer.sign(report(approved=False))
    forged = replace(refused, body=refused.body.replace("false", "true"))
    with pytest.raises(ArtifactUnverified):
        verify_report(forged, signer.public_key, DIGEST)


def test_another_signer_is_not_trusted(signer, tmp_path):
    other = open_signer(tmp_path / "other")
    with pytest.raises(ArtifactUnverified, match="trusted"):
        verify_report(other.sign(report()), signer.public_key, DIGEST)


def test_a_report_on_another_model_is_refused(signer):
    with pytest.raises(ArtifactUnverified, match="another model"):
        verify_report(signer.sign(report()), signer.public_key, "e" * 64)


def test_a_report_that_does_not_approve_is_refused(signer):
    with pytest.raises(ArtifactUnverified, match="approve"):
        verify_report(signer.sign(report(approved=False)), signer.public_key, DIGEST)


@pytest.mark.parametrize("signature", ["", "zz", "00" * 64, "00"])
def test_a_signature_that_is_none_is_refused(signer, signature):
    signed = replace(signer.sign(report()), signature=signature)
    with pytest.raises(ArtifactUnverified):
        verify_report(signed, signer.public_key, DIGEST)
