"""Recorded runs: everything about a picture, a question and several methods, to be shown without the model."""

from vscan_core.recording.files import load_recording, save_recording
from vscan_core.recording.recorded import RecordedRun, Recording
from vscan_core.recording.recorder import record

__all__ = ["RecordedRun", "Recording", "load_recording", "record", "save_recording"]
