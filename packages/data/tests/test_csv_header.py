"""A header that cannot do is told before anything heavy is loaded or started."""

import pytest

from agentloop.contracts import DataSourceConfig, EmptySource, SourceUnreadable, TargetMissing
from agentloop.data import check_header


def check(folder, data, target="y", kind="csv"):
    (folder / "rows").write_bytes(data)
    source = {"kind": kind, "path": "rows"}
    check_header(DataSourceConfig.model_validate({"source": source, "target": target}), folder)


@pytest.mark.parametrize("data", [b"a,y\n1,2\n", b'"a;b";y\r\n1;2', b"\xef\xbb\xbfy\ta\n1\t2\n"])
def test_a_header_with_the_target_will_do(tmp_path, data):
    check(tmp_path, data)


def test_a_target_that_is_not_there_names_the_nearest_column(tmp_path):
    with pytest.raises(TargetMissing) as caught:
        check(tmp_path, b"age,diagnosis\n1,b\n", target="diagnoses")
    assert (caught.value.columns, caught.value.nearest) == (("age", "diagnosis"), "diagnosis")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"a,y", b"a,y\n\n"])
def test_a_file_without_rows_is_empty(tmp_path, data):
    with pytest.raises(EmptySource):
        check(tmp_path, data)


@pytest.mark.parametrize("data", [b"a,y,\n", b"a,a,y\n1,2,3\n", b"a\0,y\n1,2\n"])
def test_a_broken_header_is_unreadable(tmp_path, data):
    with pytest.raises(SourceUnreadable):
        check(tmp_path, data)


def test_a_header_too_long_to_judge_is_left_to_the_reader(tmp_path):
    check(tmp_path, ",".join(f"column_{n}" for n in range(9_000)).encode() + b",y\n")


def test_an_empty_file_among_others_is_left_to_the_reader(tmp_path):
    (tmp_path / "1.csv").touch()
    (tmp_path / "2.csv").write_bytes(b"a,y\n1,2\n")
    source = {"kind": "csv", "path": "*.csv"}
    check_header(DataSourceConfig.model_validate({"source": source, "target": "y"}), tmp_path)


def test_other_kinds_are_left_to_their_readers(tmp_path):
    check(tmp_path, b"{}", kind="jsonl")


def test_columns_are_named_where_there_is_no_header(tmp_path):
    (tmp_path / "rows").write_bytes(b"1,2\n")
    source = {"kind": "csv", "path": "rows", "header": False, "names": ["a", "y"]}
    check_header(DataSourceConfig.model_validate({"source": source, "target": "y"}), tmp_path)


def test_the_target_may_be_a_folder(tmp_path):
    (tmp_path / "y=1").mkdir()
    (tmp_path / "y=1" / "a.csv").write_bytes(b"a\n1\n")
    source = {"kind": "csv", "path": "."}
    check_header(DataSourceConfig.model_validate({"source": source, "target": "y"}), tmp_path)
