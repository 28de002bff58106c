"""The stage: a picture under its visual tokens, drawn in the browser. Pages import it as they import `ui`."""
