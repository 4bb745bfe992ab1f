"""How torch is run: threads and precision."""

from agentloop.training.processors import usable_cpus
from agentloop.training.torch_runtime import Precision, threads_for


def test_half_of_the_processors_are_left_to_others():
    assert (threads_for("mlp", 4), threads_for("cnn", 3)) == (1, 3)
    assert threads_for("cnn", 0) == max(1, usable_cpus() // 2)


def test_a_scaler_begins_anew_where_none_was_kept():
    Precision("float16", "cpu").load({})
    Precision("float32", "cpu").load(Precision("float16", "cpu").state())
