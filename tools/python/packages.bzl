"""The packages of this repository, for the tests that look at all of them."""

PACKAGES = [
    "cli",
    "contracts",
    "data",
    "lifecycle",
    "loop",
    "monitoring",
    "serving",
    "training",
    "validation",
]

LIBRARIES = ["//packages/%s" % name for name in PACKAGES]
