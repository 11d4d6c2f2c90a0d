"""How people reach verydeep: main.py, and one file a command, imported when it is called."""
