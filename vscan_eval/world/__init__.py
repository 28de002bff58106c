"""The drawn world: scenes from a seed, their pictures, questions about them and the true answers.

The embedded model is trained on it (`training/`) and every method can be measured on it (`python -m vscan_core eval`).
"""

from vscan_eval.world.drawing import Picture, draw
from vscan_eval.world.questions import TYPES, Question, ask, draw_questions
from vscan_eval.world.scene import Scene, Thing, sample_scene

__all__ = ["TYPES", "Picture", "Question", "Scene", "Thing", "ask", "draw", "draw_questions", "sample_scene"]
