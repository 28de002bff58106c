"""Models, devices and caches behind the page. No widgets here."""
