"""The events of a training run, read by TensorBoard's own reader."""

import csv
import os
import struct
import unittest
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

RUN = Path(os.environ["MILLRACE_CLIENTS_RUN"])


class TensorBoard(unittest.TestCase):
    def test_scalars_have_the_values_and_steps_of_the_table(self):
        expected = {}
        with open(RUN / "curves.csv", encoding="utf-8", newline="") as table:
            for row in csv.DictReader(table):
                expected.setdefault(row["tag"], []).append((int(row["step"]), float(row["value"])))
        tags = {"train/loss", "train/learning_rate", "train/gradient_norm", "dev/accuracy", "dev/macro_f1"}
        self.assertEqual(set(expected), tags)
        events = EventAccumulator(str(RUN))
        events.Reload()
        self.assertEqual(set(events.Tags()["scalars"]), set(expected))
        last = 0.0
        for tag, points in expected.items():
            seen = events.Scalars(tag)
            self.assertGreaterEqual(len(seen), 4)
            # Events hold 32-bit floats.
            narrow = [(step, struct.unpack("<f", struct.pack("<f", value))[0]) for step, value in points]
            self.assertEqual([(event.step, event.value) for event in seen], narrow)
            times = [event.wall_time for event in seen]
            self.assertEqual(times, sorted(times))
            last = max(last, times[-1])
        self.assertLess(abs(last - (RUN / "curves.csv").stat().st_mtime), 600, "seconds since 1970")
        self.assertEqual(expected["train/loss"][-1][0], 12, "steps of the optimiser")

    def test_the_first_event_tells_the_version(self):
        events = EventAccumulator(str(RUN))
        events.Reload()
        self.assertEqual(events.file_version, 2.0)
