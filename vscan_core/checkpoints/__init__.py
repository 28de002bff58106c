"""From a folder or the Hub to a loaded model: what is checked on the way."""
