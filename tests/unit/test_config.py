"""The configuration: what it says, and how it explains what is wrong with it."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.respaldo.config import Config, load_config, parse_config
from include.respaldo.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
GOOD = """\
vaults:
  primary: {uri: s3://one/prefix, connection: respaldo_vault_primary}
  replica: {uri: s3://two/prefix, connection: respaldo_vault_replica}
landing_zone: file:///var/lib/respaldo/landing
servers:
  - name: pg1
    connection: respaldo_pg1
    tenants: {pattern: "tenant_*"}
"""


def changed(**fields: Any) -> str:
    return yaml.safe_dump(yaml.safe_load(GOOD) | fields, sort_keys=False)


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(text, "respaldo.yaml")
    return str(caught.value)


def mistakes(text: str) -> list[str]:
    """Return the lines of the message that each name one mistake."""
    return re.findall(r"^  (respaldo\.yaml:\d+: .*)$", refusal(text), re.MULTILINE)


def test_the_example_is_valid_and_writes_out_every_default() -> None:
    example = load_config(ROOT / "respaldo.example.yaml")
    short = parse_config(GOOD)
    sections = ("batches", "retention", "redundancy", "query_log", "restore", "schedule", "unusual")
    for section in sections:
        assert getattr(example, section) == getattr(short, section)


def test_the_example_documents_every_field() -> None:
    text = (ROOT / "respaldo.example.yaml").read_text()

    def fields(schema: dict[str, Any]) -> set[str]:
        models = [schema, *schema.get("$defs", {}).values()]
        return {name for model in models for name in model.get("properties", {})}

    for name in fields(Config.model_json_schema()):
        assert re.search(rf"^[\s#{{-]*.*\b{name}:", text, re.MULTILINE), name


def test_what_is_left_out_has_its_default() -> None:
    config = parse_config(GOOD)
    assert config.query_log.segment_age == timedelta(seconds=5)
    assert config.batches.size == 2 * 2**30
    assert config.servers[0].database == "postgres"
    assert config.system_database is None
    assert config.scratch.name == "respaldo"
    assert config.landing_folder == Path("/var/lib/respaldo/landing")
    assert config.vaults.primary.bucket == "one"
    assert config.vaults.primary.prefix == "prefix"


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_config(GOOD).restore.jobs = 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [("512 MiB", 512 * 2**20), ("2GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29)],
)
def test_sizes_are_written_with_their_unit(text: str, expected: int) -> None:
    assert parse_config(changed(batches={"size": text})).batches.size == expected


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("5s", 5), ("1 min", 60), ("1.5s", 1.5)]
)
def test_durations_are_written_with_their_unit(text: str, seconds: float) -> None:
    config = parse_config(changed(query_log={"segment_age": text}))
    assert config.query_log.segment_age.total_seconds() == seconds


@pytest.mark.parametrize("value", [5, "5", "5 minutes", "-5s", "5 S", True, None, [5], "1e99999s"])
def test_a_duration_without_a_known_unit_is_refused(value: object) -> None:
    (line,) = mistakes(changed(query_log={"segment_age": value}))
    assert "query_log.segment_age" in line
    assert "10min" in line


def test_all_mistakes_are_told_at_once_each_with_its_line() -> None:
    text = GOOD + 'batches: {size: 2, sources: 0}\ntime_zone: Mars\nschedule: "0 25 * * *"\n'
    assert [line.partition(", allowed")[0] for line in mistakes(text)] == [
        "respaldo.yaml:9: batches.size: found 2",
        "respaldo.yaml:9: batches.sources: found 0",
        "respaldo.yaml:10: time_zone: found 'Mars'",
        "respaldo.yaml:11: schedule: found '0 25 * * *'",
    ]


def test_a_mistake_deep_in_a_list_is_found_on_its_own_line() -> None:
    text = GOOD.replace('{pattern: "tenant_*"}', "\n      pattern: 7")
    assert mistakes(text) == [
        "respaldo.yaml:9: servers[0].tenants.pattern: found 7, allowed: a text"
    ]


def test_an_unknown_field_names_the_one_that_was_meant_and_never_its_value() -> None:
    (line,) = mistakes(GOOD + "    exlude: [hunter2]\n")
    assert line.startswith("respaldo.yaml:9: servers[0].exlude: there is no such field")
    assert "did you mean 'exclude'?" in line
    assert "hunter2" not in line


def test_a_missing_field_is_named_on_the_line_of_its_section() -> None:
    (line,) = mistakes(GOOD.replace("    connection: respaldo_pg1\n", ""))
    assert line == "respaldo.yaml:6: servers[0].connection: is missing"


def test_a_field_written_twice_is_refused_with_both_lines() -> None:
    (line,) = mistakes(GOOD + "landing_zone: file:///elsewhere\n")
    assert line == "respaldo.yaml:9: landing_zone: written again; the first is on line 4"


def test_two_servers_of_one_name_are_refused() -> None:
    text = GOOD + "  - {name: pg1, connection: other, tenants: {pattern: x}}\n"
    (line,) = mistakes(text)
    assert line.startswith("respaldo.yaml:9: servers[1].name: found 'pg1'")


def test_contradictions_are_told_together_with_mistakes_of_type() -> None:
    found = mistakes(
        GOOD + "system_database: {server: pg2, name: vendor}\nretention: {daily: many}\n"
    )
    assert found == [
        "respaldo.yaml:9: system_database.server: found 'pg2', allowed: one of the servers (pg1); "
        "did you mean 'pg1'?",
        "respaldo.yaml:10: retention.daily: found 'many', allowed: a whole number",
    ]


@pytest.mark.parametrize("tenants", [{}, {"pattern": "a*", "query": "SELECT 1"}])
def test_tenants_are_found_by_a_pattern_or_a_query_never_both_or_none(tenants: object) -> None:
    server = {"name": "pg1", "connection": "pg", "tenants": tenants}
    (line,) = mistakes(changed(servers=[server]))
    assert line.endswith("exactly one of 'pattern' and 'query'")


def test_a_replica_in_the_bucket_of_the_primary_is_refused() -> None:
    text = GOOD.replace("s3://two/prefix", "s3://one/elsewhere").replace("_replica}", "_primary}")
    (line,) = mistakes(text)
    assert line.startswith("respaldo.yaml:3: vaults.replica.uri: found bucket 'one'")


def test_buckets_of_one_name_in_two_regions_are_two_vaults() -> None:
    parse_config(GOOD.replace("s3://two", "s3://one"))


def test_no_servers_at_all_is_refused() -> None:
    (line,) = mistakes(changed(servers=[]))
    assert "at least one server" in line


@pytest.mark.parametrize(
    "uri", ["https://one/x", "s3://", "s3://key:pa/ss@one/x", "s3://one/x?y", "s3://One", "one"]
)
def test_a_vault_is_a_bucket_without_credentials(uri: str) -> None:
    text = refusal(GOOD.replace("s3://one/prefix", f"'{uri}'"))
    assert "allowed: s3://bucket/prefix" in text
    assert "pa/ss" not in text


def test_a_connection_written_out_is_refused_without_showing_its_password() -> None:
    text = refusal(GOOD.replace("respaldo_pg1", "postgresql://admin:hunter2@host/db"))
    assert "servers[0].connection" in text
    assert "never its URI" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "uri", ["/var/landing", "s3://bucket/x", "file://host/x", "file:relative", "file:///x?y"]
)
def test_a_landing_zone_is_a_folder_with_an_absolute_path(uri: str) -> None:
    (line,) = mistakes(changed(landing_zone=uri))
    assert "landing_zone" in line


@pytest.mark.parametrize(
    "schedule",
    ["0 2 * * *", "*/15 0-6 1,15 jan-mar MON", "5/10 * * * 7", "@daily"],
)
def test_a_schedule_is_five_cron_fields(schedule: str) -> None:
    assert parse_config(changed(schedule=schedule)).schedule == schedule


@pytest.mark.parametrize(
    "schedule",
    ["", "daily", "0 2 * *", "60 2 * * *", "0 2 0 * *", "*/0 * * * *", "6-2 * * * *", "a * * * *"],
)
def test_a_schedule_that_is_no_cron_expression_is_refused(schedule: str) -> None:
    (line,) = mistakes(changed(schedule=schedule))
    assert "five cron fields" in line


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1\nb: 2\n", 2), ("a:\n\t- x\n", 2), ("a: !!python/object:os.system x\n", 1)],
)
def test_text_that_is_no_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    assert f"respaldo.yaml:{line}: " in refusal(text)


@pytest.mark.parametrize("text", ["- 1\n", "word\n", "7\n", "1: 2\n", "servers: {a: [1, {b: }]}\n"])
def test_any_other_yaml_is_refused_with_a_line(text: str) -> None:
    assert mistakes(text)


def test_an_empty_file_misses_everything_that_is_required() -> None:
    assert mistakes("") == [
        f"respaldo.yaml:1: {field}: is missing" for field in ("vaults", "landing_zone", "servers")
    ]


def test_a_missing_file_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(tmp_path / "respaldo.yaml")
    assert "respaldo.example.yaml" in caught.value.hint
    assert "RESPALDO_CONFIG" in caught.value.hint


def test_the_environment_says_where_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "elsewhere.yaml"
    path.write_text(GOOD)
    monkeypatch.setenv("RESPALDO_CONFIG", str(path))
    assert load_config() == parse_config(GOOD)


def test_an_unknown_server_is_refused_with_those_there_are() -> None:
    config = parse_config(GOOD)
    assert config.server("pg1").connection == "respaldo_pg1"
    with pytest.raises(ConfigurationError, match="there are: pg1"):
        config.server("pg9")


def test_reading_a_configuration_imports_nothing_heavy() -> None:
    heavy = "{'airflow', 'boto3', 'psycopg', 'psycopg2', 'duckdb', 'pyarrow'}"
    code = (
        "import sys; from include.respaldo.config import load_config; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
