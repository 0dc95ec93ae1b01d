"""The speed goals: ``python -m bench.goals`` measures each and says whether it is met."""
