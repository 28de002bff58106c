"""How the embedded demonstration model VScan-Mini is made: world, questions, training, evaluation."""
