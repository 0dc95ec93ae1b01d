import json

from typer.testing import CliRunner

from poolkit.lab.commands import app

TINY = ["--data", "digits", "--model", "lenet", "--pool", "max,avg", "--seeds", "1", "--epochs", "1"]
TINY += ["--limit", "100", "--probe", "20", "--workers", "1"]


def test_a_study_writes_its_journal_and_report_and_runs_nothing_twice(tmp_path):
    folder = tmp_path / "study"
    first = CliRunner().invoke(app, ["compare", *TINY, "--out", str(folder)])
    assert first.exit_code == 0, first.output
    journal = (folder / "trials.jsonl").read_bytes()
    records = [json.loads(line) for line in journal.splitlines()]
    assert [(record["pool"], record["seed"]) for record in records] == [("max", 0), ("avg", 0)]
    for record in records:
        assert 0 <= record["metrics"]["score"] <= 1
        assert len(record["losses"]) == 1
    page = (folder / "report.html").read_text("utf-8")
    assert "2 of 2 trials" in page
    assert page.rstrip().endswith("</html>")
    assert (folder / "results.parquet").read_bytes()[:4] == b"PAR1"

    again = CliRunner().invoke(app, ["compare", *TINY, "--out", str(folder)])
    assert again.exit_code == 0, again.output
    assert (folder / "trials.jsonl").read_bytes() == journal  # times differ where a trial runs anew

    told = CliRunner().invoke(app, ["advise", str(folder)])
    assert told.exit_code == 0, told.output
    assert "of 2 poolings" in told.output
