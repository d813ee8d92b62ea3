"""How a network learns: recipes, the loop, checkpoints, the report. Importing this room loads no torch."""
