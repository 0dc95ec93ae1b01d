import contextlib
import dataclasses
import io
import json
import re
import resource
import textwrap
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import poolkit
from poolkit.catalog import CATALOG, FAMILIES, KIN, promise_zh
from poolkit.reducer import REDUCERS, Filter
from poolkit.show.commands import app

runner = CliRunner()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def invoke(*arguments):
    return runner.invoke(app, [str(argument) for argument in arguments])


def test_help_answers_in_half_a_second(poolkit_process):
    def spent():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter(), children.ru_utime + children.ru_stime

    taken = []
    for _ in range(5):
        clock, processor = spent()
        done = poolkit_process("--help")
        clock, processor = spent()[0] - clock, spent()[1] - processor
        # On a busy machine the clock also counts what others do; the process's own time does not.
        taken.append(min(clock, processor))
        assert done.returncode == 0
    assert min(taken) < 0.5, taken
    for command in ("show", "list", "explain", "info"):
        assert command in done.stdout


@pytest.mark.parametrize("arguments", ["--help", "show --help", "list", "info", "explain max_pool"])
def test_nothing_heavy_is_imported_for_it(poolkit_process, arguments):
    code = (
        "import sys\nfrom poolkit.show.commands import app\n"
        "try: app()\nexcept SystemExit as done: assert not done.code, done.code\n"
        "heavy = {'torch', 'sklearn', 'PIL', 'jinja2', 'matplotlib', 'jax', 'keras'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = poolkit_process(*arguments.split(), code=code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_the_extra_the_message_names_it(poolkit_process, module):
    code = f"import sys\nsys.modules[{module!r}] = None\nfrom poolkit.cli import main\nmain()"
    done = poolkit_process("info", code=code)
    assert done.returncode == 2
    assert "poolkit[show]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["PIL", "jinja2"])
def test_show_without_its_modules_names_the_extra(poolkit_process, scene_file, tmp_path, module):
    code = (
        "import importlib.util as util\nfind = util.find_spec\n"
        f"util.find_spec = lambda name, *rest: None if name == {module!r} else find(name, *rest)\n"
        "from poolkit.cli import main\nmain()"
    )
    done = poolkit_process("show", scene_file, "--out", tmp_path / "out", code=code)
    assert done.returncode == 2
    assert "poolkit[show]" in done.stderr
    assert not (tmp_path / "out").exists()


def test_show_ends_with_the_path_of_its_report(poolkit_process, scene_file, tmp_path):
    done = poolkit_process("show", scene_file, "--kernel", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sheet, page = done.stdout.strip().splitlines()[-2:]
    assert page == str(tmp_path / "poolkit-show" / "report.html")
    assert names(tmp_path / "poolkit-show") == ["contact-sheet.png", "report.html"]
    for reducer in set(REDUCERS) - {Filter}:  # its weights fit one kernel alone
        # A name of more letters than its column has goes on in the next line.
        assert re.search(rf"^\s*{reducer.__name__[:10]}", done.stdout, re.MULTILINE), reducer
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert image.width > 1000


def test_the_table_fits_eighty_columns(poolkit_process, scene_file, tmp_path):
    done = poolkit_process("show", scene_file, "--out", tmp_path, COLUMNS="80")
    assert "…" not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()[:-2]) <= 80


def test_show_without_torch_says_so(poolkit_process, scene_file, tmp_path):
    code = "import sys\nsys.modules['torch'] = None\nfrom poolkit.cli import main\nmain()"
    done = poolkit_process("show", scene_file, "--out", tmp_path, code=code)
    assert done.returncode == 0, done.stderr
    assert "torch is not installed" in done.stdout
    assert "torch is not installed" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_show_speaks_chinese(poolkit_process, scene_file, tmp_path):
    done = poolkit_process("show", scene_file, "--out", tmp_path, "--lang", "zh", PYTHONIOENCODING="utf-8")
    assert done.returncode == 0, done.stderr
    assert "归约" in done.stdout
    assert 'data-language="zh"' in (tmp_path / "report.html").read_text(encoding="utf-8")


def refused(tmp_path, *arguments, out=None):
    """Runs show, which must refuse and leave nothing behind; gives what it said."""
    out = out or tmp_path / "out"
    done = invoke("show", *arguments, "--out", out)
    assert done.exit_code == 2, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    if out.is_dir():
        assert names(out) == []
    return done.stderr


@pytest.mark.parametrize("kernel", [0, -3])
def test_a_kernel_below_one_is_refused(scene_file, tmp_path, kernel):
    message = refused(tmp_path, scene_file, f"--kernel={kernel}")
    assert f"--kernel {kernel}" in message
    assert "kernel >= 1" in message


@pytest.mark.parametrize("kernel", [46, 2**60, 2**70])
def test_a_kernel_larger_than_the_picture_is_refused(scene_file, tmp_path, kernel):
    message = refused(tmp_path, scene_file, "--kernel", kernel)
    assert f"--kernel {kernel}" in message
    assert "64 × 45" in message
    assert "at most 45" in message


def test_a_kernel_that_is_no_number_is_refused(scene_file, tmp_path):
    assert "--kernel" in refused(tmp_path, scene_file, "--kernel", "four")


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    for path in (tmp_path / "notes.txt", tmp_path / "missing.png", tmp_path):
        assert str(path) in refused(tmp_path, path)


def test_a_truncated_jpeg_is_refused(tmp_path):
    path = tmp_path / "half.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    assert "decoded to its end" in refused(tmp_path, path)


def test_an_out_that_is_a_file_is_refused(scene_file, tmp_path):
    (tmp_path / "taken").write_text("mine")
    message = refused(tmp_path, scene_file, out=tmp_path / "taken")
    assert f"--out {tmp_path / 'taken'}" in message
    assert (tmp_path / "taken").read_text() == "mine"


def test_an_out_that_cannot_be_written_is_refused(scene_file, tmp_path):
    # Not even root makes files in there.
    assert "--out /proc/poolkit" in refused(tmp_path, scene_file, out=type(tmp_path)("/proc/poolkit"))


def test_a_full_disk_leaves_the_old_report(scene_file, tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("old")

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("poolkit.show.files.write_whole", full)
    done = invoke("show", scene_file, "--out", tmp_path)
    assert done.exit_code == 2
    assert "No space left" in done.stderr
    assert (tmp_path / "report.html").read_text() == "old"


def test_an_interrupt_leaves_no_half_report(scene_file, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("poolkit.show.report.render", interrupt)
    done = invoke("show", scene_file, "--out", tmp_path / "out")
    assert done.exit_code != 0
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("side", [1, 2, 7])
def test_the_smallest_pictures_work(tmp_path, side):
    path = tmp_path / "tiny.png"
    Image.new("RGB", (side, side), (90, 160, 30)).save(path)
    done = invoke("show", path, "--kernel", 1 if side == 1 else 2, "--out", tmp_path)
    assert done.exit_code == 0, done.output


def test_info_tells_the_versions():
    done = invoke("info")
    assert done.exit_code == 0
    for word in ("instruction set", "threads", "numpy", np.__version__):
        assert word in done.stdout


def test_info_as_json():
    record = json.loads(invoke("info", "--json").stdout)
    assert record["version"] == poolkit.__version__
    assert record["isa"] in record["isas"]
    assert record["threads"] == poolkit.get_num_threads()
    assert record["present"]["numpy"] == np.__version__
    assert not set(record["present"]) & set(record["absent"])


def test_list_names_every_pooling():
    for arguments in (["list"], ["list", "--lang", "zh"]):
        done = invoke(*arguments)
        assert done.exit_code == 0
        for row in CATALOG:
            assert row.name in done.stdout
            assert row.family in done.stdout
    assert "最大池化" in done.stdout
    assert "y[indices]" in done.stdout


def test_list_of_one_family():
    for family in FAMILIES:
        rows = json.loads(invoke("list", "--family", family, "--json").stdout)
        assert [row["name"] for row in rows] == [row.name for row in CATALOG if row.family == family]
        done = invoke("list", "--family", family)
        assert done.exit_code == 0
        for row in CATALOG:
            assert (re.search(rf"^{row.name} ", done.stdout, re.MULTILINE) is not None) == (row.family == family)


@pytest.mark.parametrize("family", ["locl", "", "x" * 100_000])
def test_an_unknown_family_is_refused_with_the_known_ones(family):
    done = invoke("list", "--family", family)
    assert done.exit_code == 2
    assert "--family" in done.stderr
    assert all(known in done.stderr for known in FAMILIES)
    assert len(done.stderr) < 500


def test_list_as_json_holds_everything():
    rows = json.loads(invoke("list", "--json").stdout)
    assert [row["name"] for row in rows] == [row.name for row in CATALOG]
    fields = {field.name for field in dataclasses.fields(CATALOG[0])}
    for row, source in zip(rows, CATALOG, strict=True):
        assert fields | {"functions", "promises"} == set(row)
        assert all(hasattr(poolkit, function) for function in row["functions"])
        assert [trap["zh"] for trap in row["traps"]] == [zh for _, zh in source.traps]
        assert [parameter["name"] for parameter in row["parameters"]] == [name for name, *_ in source.parameters]


def explained(name, *arguments):
    """What explain prints, wide enough that nothing wraps."""
    done = runner.invoke(app, ["explain", name, *arguments], env={"COLUMNS": "1000"})
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_explain_tells_everything_and_its_example_runs(row):
    english, chinese = explained(row.name), explained(row.name, "--lang", "zh")
    pairs = [(row.when, row.when_zh), row.unless, row.phases, row.gradient, row.cost, *row.traps]
    pairs += [(meaning, meaning_zh) for _, meaning, meaning_zh in row.parameters]
    pairs.append(KIN[row.family].title)
    if row.reducer and row.family != "inverse":
        facts = (row.reducer.nan, row.reducer.ties, row.reducer.empty, row.reducer.precision)
        pairs += [(fact, promise_zh(fact)) for fact in facts]
    for en, zh in pairs:
        assert en in english
        assert zh in chinese
    names = [name for name, _, _ in row.parameters]
    for words in (row.formula, row.source, row.shape, *names, *row.functions, *row.modules, *row.ships):
        assert words in english
        assert words in chinese
    code = textwrap.dedent(english.split("Example\n")[1])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert re.match(r"\(1, 3, \d+, \d+\)" if row.functions else r"\(\d+,", printed.getvalue())


def test_an_entry_of_modules_alone_is_explained(poolkit_process, monkeypatch):
    pytest.importorskip("torch")
    call = "pooled = nn.MaxPool2d(2)(t)\ny = torch.cat(\n    [pooled],\n)"
    row = dataclasses.replace(
        CATALOG[0], name="bag_pool", reducer=None, window=None, torch=None, modules=("BagPool", "BagPool2d"), call=call
    )
    monkeypatch.setattr("poolkit.show.look_up.CATALOG", (*CATALOG, row))
    for spelling in ("BagPool2d", "bagpool", "bag_pool"):
        text = explained(spelling)
        assert text.startswith("bag_pool")
        assert "poolkit.nn.BagPool, poolkit.nn.BagPool2d" in text
        assert "What it promises" not in text
    ran = poolkit_process(code=textwrap.dedent(text.split("Example\n")[1]))
    assert ran.stdout == "(1, 3, 16, 16)\n", ran.stderr


def test_explain_in_chinese():
    done = invoke("explain", "soft_pool", "--lang", "zh")
    for words in ("软池化", "局部池化", "何时使用", "何时不用", "参数", "梯度", "保证", "陷阱", "出处", "示例"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("max_pool2d", "max_pool"),
        ("MaxPool3d", "max_pool"),
        ("Max", "max_pool"),
        ("mean", "avg_pool"),
        ("AvgPool2d", "avg_pool"),
        ("GeM", "gem_pool"),
        ("PowerMean", "power_mean_pool"),
        ("LPPool1d", "lp_pool"),
        ("soft", "soft_pool"),
        ("最小池化", "min_pool"),
        ("adaptive average pooling", "adaptive_avg_pool"),
        ("LogSumExp", "lse_pool"),
        ("LogSumExpPool3d", "lse_pool"),
        ("maxunpool2d", "max_unpool"),
    ],
)
def test_explain_understands_other_spellings(spelling, name):
    done = invoke("explain", spelling)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(name)


@pytest.mark.parametrize(
    ("spelling", "suggestion"), [("mxpool", "max_pool"), ("softpol", "soft_pool"), ("adaptive", "adaptive_max_pool")]
)
def test_an_unknown_name_brings_suggestions(spelling, suggestion):
    done = invoke("explain", spelling)
    assert done.exit_code == 2
    assert spelling in done.stderr
    assert suggestion in done.stderr


@pytest.mark.parametrize("spelling", ["", "___", "x" * 100_000, "[bold]"])
def test_nonsense_is_refused_briefly(spelling):
    done = invoke("explain", spelling)
    assert done.exit_code == 2
    assert len(done.stderr) < 500


def test_version():
    done = invoke("--version")
    assert done.exit_code == 0
    assert done.stdout == f"poolkit {poolkit.__version__}\n"


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_explain_says_what_serves_a_call_and_why(row):
    pytest.importorskip("torch")
    text = explained(row.name, "--why")
    if "none of poolkit's operators" in text:
        assert row.reducer is None or row.family == "inverse"
        return
    assert text.startswith("pool")
    # Forward and backward, each with both devices.
    assert text.count("    CPU  ") == text.count("    GPU  ") >= 1
    assert "a Triton kernel: " in text or "torch's own operations: " in text
    if row.name == "ada_pool":
        assert "torch's own operations: Ada has no kernel" in text
    if row.name == "max_pool":
        assert "pool_backward" in text
        assert "torch's own operations" not in text.split("Here: ")[0]
