"""How good a release and its search are: metrics, evaluation and its page, the gate."""
