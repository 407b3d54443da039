"""The HTML page: what runs have logged, made into charts, tables and pictures that need no server."""
