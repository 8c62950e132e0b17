"""Pure: sessions, leases and placement. Events in, instructions out."""
