"""How often a model is right with fewer visual tokens: tasks, scores, intervals, and a runner that can be resumed."""
