"""One model version in its own processes: from a request's bytes to its answer."""
