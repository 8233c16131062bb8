"""Words while they are spoken: partial ones first, which are then fixed and never change."""
