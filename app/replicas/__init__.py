"""The engine as replicas, which Ray Serve starts, watches and replaces; the web server keeps all visitors' state."""
