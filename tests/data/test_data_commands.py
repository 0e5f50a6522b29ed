from __future__ import annotations

import json
import re
import subprocess
import sys

import polars as pl
import pytest
from typer.testing import CliRunner

from interlingua.cli.data import app
from interlingua.cli.main import app as main
from interlingua.data.prepare import load
from interlingua.data.prepared import is_prepared
from interlingua.errors import InterlinguaError

CSV = "user,item,time\n" + "".join(f"u{u},i{(u + n) % 7},{n}\n" for u in range(8) for n in range(5))


def call(*arguments, fails=False):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if fails:
        assert isinstance(result.exception, InterlinguaError), result.output
        return str(result.exception)
    assert result.exception is None, result.output
    return result


def test_prepare_writes_a_folder_that_loads_and_json_is_the_card(tmp_path):
    (tmp_path / "e.csv").write_text(CSV)
    result = call("prepare", tmp_path / "e.csv", "--out", tmp_path / "out", "--set", "filter.min_user=2", "--json")
    card = json.loads(result.stdout)
    assert card["counts"] == {"users": 8, "items": 7, "events": 40, "train": 24, "valid": 8, "test": 8}
    assert load(tmp_path / "out").fingerprint == card["fingerprint"]
    assert "k-core min_user 2" in result.stderr
    assert "k-core" not in call("prepare", tmp_path / "e.csv", "--out", tmp_path / "plain").stdout


def test_dry_run_writes_nothing(tmp_path):
    result = call("prepare", "planted", "--out", tmp_path / "out", "--dry-run", "--set", "options.num_users=20")
    assert "nothing written" in result.stdout
    assert not (tmp_path / "out").exists()


def test_the_seed_and_the_split_can_be_set(tmp_path):
    def card(*more):
        return json.loads(call("prepare", "planted", "--out", tmp_path / "o", "--dry-run", "--json", *more).stdout)

    texts = [
        card("--set", "split=ratio", "--seed", 1),
        card("--set", "split=ratio", "--seed", 2),
        card("--set", "data.split.name=ratio", "--seed", 1),
    ]
    assert texts[0]["fingerprint"] != texts[1]["fingerprint"]
    assert texts[0]["fingerprint"] == texts[2]["fingerprint"]


def test_describe_a_source_and_a_prepared_folder(tmp_path):
    (tmp_path / "e.csv").write_text(CSV)
    text = call("describe", tmp_path / "e.csv").stdout
    assert "8 users, 7 items, 40 events" in text
    assert "█" in text
    call("prepare", tmp_path / "e.csv", "--out", tmp_path / "out", "--set", "split=ratio")
    facts = json.loads(call("describe", tmp_path / "out", "--json").stdout)
    assert facts["protocol"].startswith("ratio-")  # the folder's own split, not the default


def test_plots(tmp_path):
    (tmp_path / "e.csv").write_text(CSV)
    facts = json.loads(call("describe", tmp_path / "e.csv", "--plots", tmp_path / "plots", "--json").stdout)
    assert len(facts["plots"]) == 2
    assert (tmp_path / "plots" / "popularity.svg").is_file()


def test_list_names_datasets_and_readers():
    listed = json.loads(call("list", "--json").stdout)
    assert "planted" in [d["name"] for d in listed["datasets"]]
    assert "table" in listed["readers"]
    assert "movielens-small" in call("list").stdout


def test_errors_name_the_option(tmp_path):
    assert "did you mean 'min_user'" in call(
        "prepare", "planted", "--out", tmp_path, "--set", "filter.minuser=2", fails=True
    )
    assert "did you mean 'planted'" in call("describe", "plantd", fails=True)
    (tmp_path / "e.csv").write_text("alpha,beta\n1,2\n")
    assert "columns.user_id=NAME" in call("describe", tmp_path / "e.csv", fails=True)


def test_the_option_that_a_missing_column_names_works_in_every_command(tmp_path):
    rows = [f"u{u},i{(u + n) % 7}" for u in range(8) for n in range(5)]
    (tmp_path / "e.csv").write_text("\n".join(["alpha,beta", *rows]))
    out = ("--out", str(tmp_path / "out"))
    for command in (["data", "prepare", str(tmp_path / "e.csv")], ["run", "pop", "--data", str(tmp_path / "e.csv")]):
        sets: list[str] = []
        for column in ("alpha", "beta"):
            failed = CliRunner().invoke(main, [*command, *out, *sets])
            option = re.search(r"--set (\S+)=NAME", str(failed.exception))
            assert option, failed.output
            sets += ["--set", f"{option[1]}={column}"]
        assert CliRunner().invoke(main, [*command, "--out", str(tmp_path / command[0]), *sets]).exception is None


def test_columns_given_as_numbers_are_names(tmp_path):
    (tmp_path / "e.csv").write_text("1,2,3\na,x,5\nb,y,6\n")
    result = call(
        "prepare", tmp_path / "e.csv", "--out", tmp_path / "o", "--json", "--set", "options.header=true",
        "--set", "columns.user_id=1", "--set", "columns.item_id=2",
    )  # fmt: skip
    assert json.loads(result.stdout)["counts"]["users"] == 2


def test_help_imports_neither_torch_nor_polars():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom interlingua.cli.data import app\n"
        "assert CliRunner().invoke(app, ['prepare', '--help']).exit_code == 0\n"
        "heavy = {'torch', 'polars', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_prepare_overwrites_no_files_of_others(tmp_path):
    own = {
        "interactions": pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"]}),
        "items": pl.DataFrame({"item": ["x"]}),
    }
    raw, notes = tmp_path / "raw", tmp_path / "notes"
    for folder in (raw, notes):
        folder.mkdir()
    for name, frame in own.items():
        frame.write_parquet(raw / f"{name}.parquet")
    (notes / "users.parquet").write_text("mine")
    before = {path: path.read_bytes() for path in (*raw.iterdir(), *notes.iterdir())}
    for folder in (raw, notes):
        message = call("prepare", raw, "--out", folder, fails=True)
        assert f"{folder} holds something else than a prepared dataset" in message
        assert "name a new or empty folder" in message
    assert "is a file" in call("prepare", raw, "--out", raw / "items.parquet", fails=True)
    assert {path: path.read_bytes() for path in (*raw.iterdir(), *notes.iterdir())} == before
    call("prepare", raw, "--out", raw, "--dry-run")


def test_a_prepared_folder_is_rewritten_unless_it_is_the_source(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()  # an empty folder is as good as none
    small, large = ("--set", "options.num_users=20"), ("--set", "options.num_users=30")
    call("prepare", "planted", "--out", out, *small)
    call("prepare", "planted", "--out", out, *large)
    assert load(out).interactions.num_users == 30
    before = (out / "interactions.parquet").read_bytes()
    for source in (out, out / ".." / "out", out / "interactions.parquet"):
        assert "would overwrite it" in call("prepare", source, "--out", out, "--set", "filter.min_user=9", fails=True)
    assert (out / "interactions.parquet").read_bytes() == before
    call("prepare", out, "--out", other, "--set", "filter.min_user=9")
    assert is_prepared(other)


def test_the_generated_world_may_be_written_to_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for users in (20, 30):
        call("prepare", "planted", "--out", "planted", "--set", f"options.num_users={users}")
    assert load("planted").interactions.num_users == 30


@pytest.mark.parametrize("command", ["prepare", "describe"])
def test_a_second_name_is_not_passed_over(command, tmp_path):
    file = tmp_path / "events.csv"
    file.write_text(CSV)
    out = ["--out", tmp_path / "out"] if command == "prepare" else []
    for words in ("name=other", "data.name=other"):
        assert f"data.name=other contradicts the dataset {file}" in call(
            command, file, *out, "--set", words, fails=True
        )
    call(command, file, *out, "--set", f"name={file}")
