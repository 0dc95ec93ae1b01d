"""``python -m bench.table [--lang zh] [--write] [RESULTS.json]``: the tables of the READMEs and of docs/performance.md.

They come from a saved run, and the goals from bench/results/goals.json: no number on these pages is typed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench import page
from poolkit.bench.report import number
from poolkit.show.files import write_whole

RESULTS = Path(__file__).parent / "results" / "threads-1.json"
ROOT = Path(__file__).parent.parent
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
BEGIN, END = "<!-- speed table: python -m bench.table --write -->\n", "<!-- end of speed table -->\n"
# Layers that many know, one for each habit of pooling: overlapping, halving, padded, wide, averaged, adaptive, global.
SHOWN = (
    ("resnet50", "maxpool_b64"),
    ("vgg16", "pool1_b64"),
    ("onednn:googlenet_v1", "inception_4a/max_pool"),
    ("yolov5s_sppf", "k5_chain1"),
    ("superpoint", "nms_r4"),
    ("unet3d_brats128", "pool1"),
    ("densenet161", "transition1"),
    ("inception_v3", "mixed_6_pool"),
    ("pspnet_cityscapes", "ppm_bin6_nondiv"),
    ("resnet50", "avgpool_b64"),
)
PEERS = ("torch", "torch-nhwc", "onnxruntime", "openvino")
WORDS = {
    "en": {
        "head": (
            "layer",
            "input",
            "window",
            "poolkit ms",
            "/ copy floor",
            "PyTorch",
            "PyTorch channels-last",
            "ONNX Runtime",
            "OpenVINO",
        ),
        "all": "geometric mean of {rows} layers",
        "max": "max",
        "avg": "mean",
        "foot": (
            "float32, {threads} thread(s), {processor}, {isa}; torch {torch}. Peers: how many times longer they take "
            "in the same layout. Copy floor: the time to read the input and write the output at the rate this machine "
            "copies that tensor. Made by `make bench`; all layers in `bench/results/`."
        ),
    },
    "zh": {
        "head": (
            "层",
            "输入",
            "窗口",
            "poolkit 毫秒",
            "/ 拷贝下限",
            "PyTorch",
            "PyTorch channels-last",
            "ONNX Runtime",
            "OpenVINO",
        ),
        "all": "{rows} 个层的几何平均",
        "max": "最大",
        "avg": "平均",
        "foot": (
            "float32，{threads} 个线程，{processor}，{isa}；torch {torch}。"
            "其他库的数字表示同一内存布局下耗时是 poolkit 的多少倍。"
            "“拷贝下限”指按本机拷贝该张量的速率，读一遍输入、写一遍输出所需的时间。"
            "由 `make bench` 生成，全部结果见 `bench/results/`。"
        ),
    },
}


def ratio(ms: dict[str, float], peer: str) -> str:
    """A peer's time over poolkit's in the same layout."""
    mine = "poolkit-nhwc" if peer.endswith("-nhwc") else "poolkit"
    return number(ms[peer] / ms[mine], "x") if peer in ms and mine in ms else "-"


def lines(document: dict[str, Any], language: str) -> list[str]:
    """The table and its footnote."""
    words = WORDS[language]
    text = ["| " + " | ".join(words["head"]) + " |", "|---|---|---|" + "---:|" * 6]
    found = {(entry["row"]["network"], entry["row"]["layer"]): entry for entry in document["rows"]}
    for key in SHOWN:
        if key not in found:
            continue
        row, ms = found[key]["row"], found[key]["ms"]
        kind = words["max"] if "max" in row["kind"] else words["avg"]
        shape = "x".join(map(str, row["shape"]))
        cells = [row["network"].removeprefix("onednn:"), shape, f"{kind} {row['window']}", number(ms["poolkit"])]
        cells += [number(ms["poolkit"] / found[key]["floor_ms"]), *(ratio(ms, peer) for peer in PEERS)]
        text.append("| " + " | ".join(cells) + " |")
    for summary in document["summary"]:
        if summary["group"] == "headline":
            cells = [f"**{words['all'].format(rows=summary['rows'])}**", "", "", "", number(summary["over_floor"])]
            cells += [number(summary["ratios"].get(peer), "x") for peer in PEERS]
            text.append("| " + " | ".join(cells) + " |")
    facts = document["circumstances"]
    return [*text, "", words["foot"].format(**facts | {"torch": facts["versions"].get("torch", "-")})]


def write(document: dict[str, Any]) -> None:
    """Put the tables between the marks of each README and of the page on performance."""
    for language, path in READMES.items():
        before, rest = path.read_text(encoding="utf-8").split(BEGIN)
        table = "\n".join(lines(document, language))
        write_whole(path, f"{before}{BEGIN}\n{table}\n\n{END}{rest.split(END)[1]}".encode())
    write_whole(page.PAGE, page.current(document).encode())


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description="Print the READMEs' speed table.")
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS)
    parser.add_argument("--lang", choices=sorted(WORDS), default="en")
    parser.add_argument("--write", action="store_true", help="put the tables into both READMEs and docs/performance.md")
    given = parser.parse_args()
    if not given.results.exists():
        print(f"{given.results} does not exist; run `make bench` first", file=sys.stderr)
        return 2
    document = json.loads(given.results.read_text(encoding="utf-8"))
    if given.write:
        write(document)
    else:
        print("\n".join(lines(document, given.lang)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
