"""Whether one system is better than another on the same clips, or the difference may be chance."""
