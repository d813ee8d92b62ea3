"""What a network is made of, in numbers and words."""
