"""Routes: each handler reads its request, calls a plain function, and renders; nothing is decided here."""
