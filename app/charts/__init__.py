"""One chart per file: a result in, a plotly Figure out. No gradio here."""
