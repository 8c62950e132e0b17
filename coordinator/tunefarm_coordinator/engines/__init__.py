"""How candidates are proposed, scored and built."""
