"""How a trained network runs elsewhere."""
