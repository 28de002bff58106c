"""The command line, one command per file. `main.COMMANDS` lists them; each has `add(commands)`."""
