"""Talking over the network: small servers for strangers, and callers that believe nothing they hear."""
