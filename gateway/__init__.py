"""The HTTP edge: authenticates, validates, seals and accepts intents into the stream, and answers reads."""
