"""The drawn world: scenes from a seed, their pictures, questions about them and the true answers.

The embedded model is trained on it (`training/`) and every method can be measured on it (`python -m vscan_core eval`).
"""

from vscan_eval.world.drawing import draw_scene
from vscan_eval.world.questions import Question, draw_questions
from vscan_eval.world.scene import sample_scene

__all__ = ["Question", "draw_questions", "draw_scene", "sample_scene"]
