"""The store's schema, one revision after another. Run at open; a released revision never changes."""
