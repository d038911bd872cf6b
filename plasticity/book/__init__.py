"""Notebooks: executed strictly (``execute``), their tables and figures shown and saved (``report``), and the site made
of them (``site``). May import everything."""
