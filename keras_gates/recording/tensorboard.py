"""Event files for TensorBoard, written with TensorBoard's writer, on any backend."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import registry
from keras_gates.trees.tree_walk import recurrent

if TYPE_CHECKING:
    import xarray


class Events:
    """Writes the records of each step to an event file.

    Args:
        folder: The folder for TensorBoard's `--logdir`.

    Raises:
        ImportError: If the package `tensorboard` is not installed.
    """

    def __init__(self, folder):
        try:
            from tensorboard.summary.writer import event_file_writer
        except ImportError:
            raise ImportError(
                "`log_dir` needs the package `tensorboard`. Install it with `pip "
                "install tensorboard`, or leave the argument out."
            ) from None
        self._writer = event_file_writer.EventFileWriter(str(folder))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def write(self, statistics: xarray.DataTree, trace, step: int) -> None:
        """Writes one step.

        Args:
            statistics: The statistics of the step, `(signal, unit)`.
            trace: The trace of the step, or `None`.
            step: The number of the step in TensorBoard.
        """
        for node in recurrent(statistics):
            counts = node.to_dataset()["histogram"].sum(v.UNIT)
            for signal in counts[v.SIGNAL].to_numpy():
                if signal in registry.gates():
                    of_gate = counts.sel({v.SIGNAL: signal}).to_numpy()
                    self._histogram(f"{node.path.strip('/')}/{signal}", of_gate, step)
        for node in recurrent(trace) if trace is not None else []:
            self._heat_map(f"{node.path.strip('/')}/gates", node, step)
        self._writer.flush()

    def _histogram(self, tag: str, counts: np.ndarray, step: int) -> None:
        from tensorboard.plugins.histogram import metadata

        edges = np.linspace(0, 1, len(counts) + 1)
        buckets = np.stack([edges[:-1], edges[1:], counts], axis=1)
        self._add(tag, buckets, metadata.create_summary_metadata(None, None), step)

    def _heat_map(self, tag: str, node: xarray.DataTree, step: int) -> None:
        from tensorboard.plugins.image import metadata

        from keras_gates import plots

        layer = node.to_dataset()
        if v.FRAME in layer.dims:
            # Inside a `TimeDistributed`, the first frame is drawn.
            layer = layer.isel({v.FRAME: 0})
        figure = plots.heatmap(layer)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        size = [str(int(length * 80)) for length in figure.get_size_inches()]
        image = np.array([*size, buffer.getvalue()], dtype=object)
        described = metadata.create_summary_metadata(None, None)
        self._add(tag, image, described, step)

    def _add(self, tag: str, values: np.ndarray, metadata, step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.util import tensor_util

        value = summary_pb2.Summary.Value(
            tag=tag,
            metadata=metadata,
            tensor=tensor_util.make_tensor_proto(values),
        )
        self._writer.add_event(
            event_pb2.Event(
                wall_time=time.time(),
                step=step,
                summary=summary_pb2.Summary(value=[value]),
            )
        )
