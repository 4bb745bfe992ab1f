"""What is wrong with a loop.yaml: one issue a mistake, with its line and the nearest valid word."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.contracts import LoopSpec, SpecError, load_spec, parse_spec
from agentloop.contracts.spec_file import MAX_SPEC_BYTES

BASE = """\
name: tumours
data:
  source: {kind: csv, path: rows.csv}
  target: diagnosis
"""
SPACE = BASE + "model:\n  search:\n    space:\n      "


def issues(text):
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    return caught.value.issues


def the_issue(text):
    found = issues(text)
    assert len(found) == 1, [str(issue) for issue in found]
    return found[0]


def test_two_sections_are_enough():
    spec = parse_spec(BASE)
    assert (spec.name, spec.model.family, spec.serving.port) == ("tumours", "mlp", 8700)


def test_the_parsed_spec_survives_its_own_json():
    spec = parse_spec(SPACE + "learning_rate: {low: 0.001, high: 1, log: true}")
    assert LoopSpec.model_validate(spec.model_dump(mode="json")) == spec


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "key", "nearest"),
    [
        (BASE + "modle: {}", 5, "modle", "model"),
        (BASE + "  chekcs:\n    min_rows: 3", 5, "data.chekcs", "checks"),
        (BASE + "model:\n  parameters:\n    epoch: 3", 7, "model.parameters.epoch", "epochs"),
        (BASE.replace("path", "pth"), 3, "data.source.pth", "path"),
        (BASE + "  columns:\n    age: {nulable: true}", 6, "data.columns.age.nulable", "nullable"),
        (SPACE + "hiden: {choices: [[8]]}", 8, "model.search.space.hiden", "hidden"),
        (SPACE + "dropout: {lo: 0, high: 0.5}", 8, "model.search.space.dropout.lo", "low"),
        (SPACE + "hidden: {choises: [[8]]}", 8, "model.search.space.hidden.choises", "choices"),
        (
            BASE + "monitoring:\n  business_value:\n    - {use_case: a, per_predicton: 1}",
            7,
            "monitoring.business_value.0.per_predicton",
            "per_prediction",
        ),
    ],
)
def test_a_misspelt_key_is_told_once_with_its_line_and_the_nearest(text, line, key, nearest):
    issue = the_issue(text)
    assert (issue.line, issue.key, issue.nearest, issue.kind) == (line, key, nearest, "key")
    assert nearest in issue.message


def test_only_the_keys_of_the_chosen_kind_are_offered():
    message = the_issue(BASE.replace("path", "pth")).message
    assert "separator" in message
    assert "target" not in message


def test_nothing_is_offered_for_a_key_that_resembles_none():
    assert the_issue(BASE + "zzz: 1").nearest is None


def test_a_missing_key_is_named():
    issue = the_issue("name: tumours\ndata:\n  source: {kind: csv, path: rows.csv}\n")
    assert (issue.line, issue.key, issue.message) == (2, "data.target", "is missing")


def test_a_source_without_a_kind_is_told_so():
    assert the_issue(BASE.replace("kind: csv, ", "")).key == "data.source.kind"


def test_a_key_given_twice_is_refused_at_its_second_line():
    issue = the_issue(BASE + "name: other\n")
    assert (issue.line, issue.key, issue.message) == (5, "name", "is given twice")


def test_a_key_that_is_no_text_is_unknown():
    assert the_issue(BASE + "1: x").key == "1"


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (BASE + "serving: {port: http}", "serving.port", "a whole number"),
        (BASE + "serving: {port: 99999}", "serving.port", "65535"),
        (BASE + "serving: {host: 0.0.0.0}", "serving.host", "insecure: true"),
        (BASE + "model: {seed: 1.5}", "model.seed", "a whole number"),
        (BASE + "model: {num_workers: many}", "model.num_workers", "or auto"),
        (BASE + "model: {num_workers: -1}", "model.num_workers", "0 or more"),
        (BASE + "model: {num_workers: true}", "model.num_workers", "whole number"),
        (BASE + "model: {use_gpu: 3}", "model.use_gpu", "true, false or auto"),
        (BASE + "model: {family: [mlp]}", "model.family", "must be text"),
        (BASE + "model: {parameters: {hidden: 8}}", "model.parameters.hidden", "a list"),
        (BASE + "model: {parameters: {hidden: []}}", "model.parameters.hidden", "positive"),
        (BASE + "model: {parameters: {epochs: yes}}", "model.parameters.epochs", "not true"),
        (BASE + "model: {parameters: {dropout: .nan}}", "model.parameters.dropout", "finite"),
        (BASE + "model: {parameters: {dropout: .inf}}", "model.parameters.dropout", "finite"),
        (BASE + "model:", "model", "a mapping with family, parameters"),
        (BASE + "rollout: {steps: [50, 10]}", "rollout.steps", "end at 100"),
        (BASE + "  columns: {age: 3}", "data.columns.age", "a mapping with kind"),
        (BASE + "  columns: {age: {kind: num}}", "data.columns.age.kind", "'number', 'integer'"),
        (BASE.replace("diagnosis", ""), "data.target", "must be text"),
        (BASE.replace("diagnosis", "''"), "data.target", "not be empty"),
        (BASE.replace("tumours", "My Tumours"), "name", "lower-case"),
        (BASE.replace("csv, path: rows.csv", "callable, target: load"), None, "module:function"),
        (BASE.replace("{kind: csv, path: rows.csv}", "rows.csv"), "data.source", "a mapping with"),
        ("name: tumours\ndata: rows.csv", "data", "a mapping with source, target"),
    ],
)
def test_a_wrong_value_is_told_once_in_plain_words(text, key, words):
    issue = the_issue(text)
    assert issue.kind == "value"
    assert words in issue.message
    assert key in (issue.key, None)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("epochs: {low: 3, high: 1, integer: true}", "low (3) must be below high (1)"),
        ("weight_decay: {low: 0, high: 1, log: true}", "needs low > 0"),
        ("dropout: {low: .nan, high: 0.5}", "finite"),
        ("dropout: {low: 0, high: 1.5}", "1.5 is not allowed: dropout must be less than 1"),
        ("hidden: {low: 3, high: 5}", "give choices"),
        ("epochs: {low: 3, high: 5}", "add integer: true"),
        ("epochs: {choices: [3, 2.5]}", "2.5 is not allowed"),
        ("hidden: {choices: []}", "must not be empty"),
        ("epochs: {choices: [.nan]}", "finite"),
        ("epochs: [1, 2]", "a mapping with low, high"),
    ],
)
def test_a_search_space_is_held_to_what_its_parameter_may_be(space, words):
    issue = the_issue(SPACE + space)
    assert issue.key.startswith("model.search.space.")
    assert issue.line == 8
    assert words in issue.message


def test_an_unknown_kind_of_source_names_the_nearest():
    issue = the_issue(BASE.replace("csv, path", "csvv, path"))
    assert (issue.key, issue.nearest) == ("data.source.kind", "csv")
    assert "csv, jsonl, parquet, idx, sql, callable" in issue.message


def test_an_unknown_family_names_the_nearest():
    issue = the_issue(BASE + "model: {family: lineer}")
    assert (issue.kind, issue.nearest) == ("family", "linear")


@pytest.mark.parametrize("family", ["it's", "mlp\n", "a:b:c", "k" * 10_000])
def test_a_strange_family_is_told_briefly(family):
    issue = the_issue(BASE + f"model: {{family: {family!r}}}".replace("'mlp\\n'", '"mlp\\n"'))
    assert issue.kind == "family"
    assert len(str(issue)) < 300


def test_a_users_own_family_is_a_module_and_a_callable():
    assert parse_spec(BASE + "model: {family: 'nets.small:build'}").model.family


def test_issues_come_in_the_order_of_lines_and_at_most_ten():
    found = issues(BASE + "".join(f"zz{n}: 1\n" for n in range(30)))
    assert [issue.line for issue in found[:10]] == list(range(5, 15))
    assert str(found[10]) == "and 20 more"


def test_separate_mistakes_are_separate_issues():
    found = issues(BASE + "modle: {}\nserving: {port: http}\n")
    assert [(issue.line, issue.key) for issue in found] == [(5, "modle"), (6, "serving.port")]


# --- YAML ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_is_told_so(text):
    assert the_issue(text).message.startswith("is empty")


@pytest.mark.parametrize("text", ["- a\n- b", "hello", "3"])
def test_a_file_that_is_no_mapping_is_told_so(text):
    assert the_issue(text).message.startswith("is no mapping")


@pytest.mark.parametrize(
    "text",
    [
        "name: [",
        "name: m\n\tdata: 3",
        "name: a\n---\nname: b",
        "name: a\0b",
        "name: *nowhere",
        "name: !!python/object/apply:os.system [exit]",
        "name: !!bool perhaps",
        "name: !!timestamp soon",
        "name: 2020-99-99",
        "name: " + "9" * 5000,
        "? [1, 2]\n: x",
        "[" * 5000,
        "name: &a [*a]",
        "name: &a\n  b: *a",
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_what_is_not_usable_yaml_is_one_short_syntax_issue(text):
    issue = the_issue(text)
    assert issue.kind == "syntax"
    assert len(str(issue)) < 200
    assert "\n" not in str(issue)


@pytest.mark.parametrize("alias", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_to_aliases_are_not_expanded(alias):
    bomb = "a: &a {k: 1}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} {alias.format(', '.join([f'*{before}'] * 9))}\n"
    assert "aliases counted" in the_issue(bomb).message


def test_anchors_and_merges_may_be_used():
    text = BASE + "  checks: &strict {min_rows: 3}\nmodel: {parameters: {<<: {epochs: 2}}}\n"
    assert parse_spec(text).model.parameters.epochs == 2


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_spec_or_a_spec_error(text):
    with pytest.raises(SpecError):
        parse_spec(text)


keys = st.sampled_from(["kind", "source", "space", "epochs", "choices", "low"])
sections = st.recursive(
    st.none() | st.floats() | st.text(), lambda s: st.lists(s) | st.dictionaries(keys, s)
)


@settings(deadline=None)
@given(sections)
def test_any_value_of_a_section_is_taken_or_explained(value):
    for section in ("model", "rollout", "serving"):
        with suppress(SpecError):
            parse_spec(f"{BASE}{section}: {json.dumps(value)}")


# --- files ---------------------------------------------------------------------------------------


def refused_file(path):
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert (caught.value.exit_code, caught.value.path) == (14, str(path))
    return str(caught.value)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "loop.yaml"
    path.write_text("\ufeff" + BASE, encoding="utf-8")
    assert load_spec(path).name == "tumours"


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "No such file" in refused_file(tmp_path / "loop.yaml")


def test_a_folder_is_no_spec(tmp_path):
    assert "Is a directory" in refused_file(tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "loop.yaml"
    path.symlink_to(path)
    assert "symbolic links" in refused_file(path)


def test_a_file_that_is_too_large_is_not_read_whole():
    assert "larger than 1 MB" in refused_file(Path("/dev/zero"))


def test_a_file_just_within_the_limit_is_read(tmp_path):
    path = tmp_path / "loop.yaml"
    path.write_text(BASE + "#" * (MAX_SPEC_BYTES - len(BASE)))
    assert load_spec(path).name == "tumours"


def test_a_file_in_another_encoding_is_refused_at_its_byte(tmp_path):
    path = tmp_path / "loop.yaml"
    path.write_bytes(BASE.encode("utf-16"))
    assert "not UTF-8 text (byte 1)" in refused_file(path)
