"""The pictures of the site: `python -m drawing` in docs, about a minute."""
