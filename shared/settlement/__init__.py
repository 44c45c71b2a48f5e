"""Settlement files of PSPs: how they are laid out, as data, and how their lines are read."""
