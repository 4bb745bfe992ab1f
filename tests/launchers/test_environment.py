"""./agentloop makes its environment, or says what is missing and leaves things as they were."""


def test_the_first_run_makes_the_environment_and_then_runs(checkout):
    outcome = checkout.run("--version")
    assert outcome.stdout == "ran: -m agentloop.cli --version\n"
    assert "making .venv" in outcome.stderr


def test_the_second_run_says_nothing(checkout):
    checkout.run()
    assert checkout.run("--version").stderr == ""


def test_a_changed_lock_makes_the_environment_anew(checkout):
    checkout.run()
    (checkout.root / "requirements.lock").write_text("torch==2.13.0\n")
    assert "making .venv" in checkout.run().stderr
    assert not (checkout.root / ".venv.old").exists()


def test_a_new_package_is_put_on_the_path_without_installing(checkout):
    checkout.run()
    (checkout.root / "packages/serving/agentloop").mkdir(parents=True)
    assert "making .venv" not in checkout.run().stderr
    listed = (checkout.venv / "lib/python3.11/site-packages/agentloop.pth").read_text()
    assert listed.splitlines() == [
        "../../../../packages/contracts",
        "../../../../packages/serving",
    ]


def test_a_moved_checkout_is_repaired(checkout):
    checkout.run()
    script = checkout.venv / "bin/tool"
    script.write_text(f"#!{checkout.venv}/bin/python\n")
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    assert "moved here" in checkout.run().stderr
    assert (checkout.venv / "bin/tool").read_text() == f"#!{checkout.venv}/bin/python\n"


def test_no_network_is_said_and_leaves_nothing(checkout):
    checkout.uv_installs_with("echo 'error: Failed to fetch: dns error'; exit 2")
    outcome = checkout.run()
    assert outcome.returncode == 69
    assert "could not be fetched" in outcome.stderr
    assert not checkout.venv.exists()


def test_a_full_disk_has_its_own_exit_code(checkout):
    checkout.uv_installs_with("echo 'No space left on device (os error 28)'; exit 2")
    assert checkout.run().returncode == 74


def test_a_failed_renewal_brings_the_old_environment_back(checkout):
    checkout.run()
    (checkout.venv / "mine").touch()
    (checkout.root / "requirements.lock").write_text("torch==2.13.0\n")
    checkout.uv_installs_with("exit 2")
    assert checkout.run().returncode == 79
    assert (checkout.venv / "mine").exists()


def test_an_environment_that_is_not_ours_is_kept(checkout):
    checkout.venv.mkdir()
    (checkout.venv / "mine").touch()
    assert "kept as .venv.old" in checkout.run().stderr
    assert (checkout.root / ".venv.old/mine").exists()


def test_an_unfinished_environment_is_started_over(checkout):
    checkout.venv.mkdir()
    (checkout.venv / "agentloop.partial").touch()
    assert checkout.run().returncode == 0
    assert not (checkout.root / ".venv.old").exists()


def test_the_wrong_python_is_refused_by_name(checkout):
    outcome = checkout.run(AGENTLOOP_PYTHON="/bin/true")
    assert outcome.returncode == 78
    assert "/bin/true" in outcome.stderr


def test_missing_packages_are_named(checkout):
    for tool in ("bash", "dirname", "env", "flock", "readlink"):
        (checkout.bin / tool).symlink_to(f"/usr/bin/{tool}")
    outcome = checkout.run(PATH=str(checkout.bin), AGENTLOOP_PYTHON="")
    assert outcome.returncode == 78
    assert "git" in outcome.stderr.split("next:")[1]
