"""One Ray cluster for all modules here, and what the folder above offers."""

import pytest


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    ray.shutdown()
