"""TensorBoard's event files, written with its own protocol buffers.

`torch.utils.tensorboard` would import TensorFlow wherever that is installed, which takes many seconds; the record
writer and the protocol buffers of TensorBoard need neither.
"""

from __future__ import annotations

import importlib
import io
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping


def load(name: str) -> Any:
    """A module of TensorBoard, which has no types of its own."""
    return importlib.import_module(f"tensorboard.{name}")


class Board:
    """One run: a file of events in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("wb")
        self._writer = load("summary.writer.record_writer").RecordWriter(self._file)
        self._event = load("compat.proto.event_pb2").Event
        self._summary = load("compat.proto.summary_pb2").Summary
        self._writer.write(self._event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())

    def image(self, tag: str, png: bytes, size: tuple[int, int], step: int) -> None:
        """Adds a picture of `size` (width, height) under `tag`."""
        width, height = size
        image = self._summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
        self._add(self._summary(value=[self._summary.Value(tag=tag, image=image)]), step)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Adds a number under `tag`."""
        self._add(self._summary(value=[self._summary.Value(tag=tag, simple_value=value)]), step)

    def close(self) -> None:
        """Everything is in the file when this returns."""
        self._writer.flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _add(self, summary: Any, step: int) -> None:
        self._writer.write(self._event(wall_time=time.time(), step=step, summary=summary).SerializeToString())


def hparams_run(settings: Mapping[str, Any], found: Mapping[str, float]) -> bytes:
    """A whole event file for the HParams tab: what a run was given, and what it gave.

    Args:
        settings: texts, numbers and flags.
        found: the metrics.
    """
    event = load("compat.proto.event_pb2").Event
    api, plugin = load("plugins.hparams.api_pb2"), load("plugins.hparams.plugin_data_pb2")
    kinds: dict[type[Any], str] = {bool: "DATA_TYPE_BOOL", str: "DATA_TYPE_STRING"}
    fields: dict[type[Any], str] = {bool: "bool_value", str: "string_value"}
    experiment = api.Experiment(
        hparam_infos=[
            api.HParamInfo(name=name, type=getattr(api, kinds.get(type(cast("object", value)), "DATA_TYPE_FLOAT64")))
            for name, value in settings.items()
        ],
        metric_infos=[api.MetricInfo(name=api.MetricName(tag=tag)) for tag in found],
    )
    start = plugin.SessionStartInfo()
    for name, value in settings.items():
        kind = fields.get(type(cast("object", value)), "number_value")
        setattr(start.hparams[name], kind, value)
    end = plugin.SessionEndInfo(status=api.STATUS_SUCCESS)
    buffer = io.BytesIO()
    writer = load("summary.writer.record_writer").RecordWriter(buffer)
    writer.write(event(file_version="brain.Event:2").SerializeToString())
    parts = (("experiment", {"experiment": experiment}), ("session_start_info", {"session_start_info": start}))
    for tag, content in (*parts, ("session_end_info", {"session_end_info": end})):
        data = plugin.HParamsPluginData(version=0, **content).SerializeToString()
        writer.write(event(summary=_hidden(f"_hparams_/{tag}", data)).SerializeToString())
    summary = load("compat.proto.summary_pb2").Summary
    for tag, value in found.items():
        value_ = summary.Value(tag=tag, simple_value=value)
        writer.write(event(step=0, summary=summary(value=[value_])).SerializeToString())
    return buffer.getvalue()


def _hidden(tag: str, data: bytes) -> Any:
    """What the HParams plugin keeps in a summary without a value."""
    proto = load("compat.proto.summary_pb2")
    metadata = proto.SummaryMetadata(plugin_data=proto.SummaryMetadata.PluginData(plugin_name="hparams", content=data))
    null = load("compat.proto.tensor_pb2").TensorProto(
        dtype="DT_FLOAT", tensor_shape=load("compat.proto.tensor_shape_pb2").TensorShapeProto()
    )
    return proto.Summary(value=[proto.Summary.Value(tag=tag, metadata=metadata, tensor=null)])
