"""The REST service: `everygram.server.app` needs the extra `everygram[server]`."""
