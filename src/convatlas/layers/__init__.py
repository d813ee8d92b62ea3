"""Parts that several papers share. This room imports torch alone."""
