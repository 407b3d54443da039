"""Dashboards that are laid out already: `panels` says once what is shown, in a W&B workspace and in an HTML report."""
