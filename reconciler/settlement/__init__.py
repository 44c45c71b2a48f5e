"""Settlement files: taken in, read line by line, matched with what is known, and heard where an intent is in doubt."""
