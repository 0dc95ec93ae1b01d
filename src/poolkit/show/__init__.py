"""What ``poolkit show`` does: pool a photograph in every way and draw what came out and what was lost."""
