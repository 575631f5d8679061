"""Requests to the API server of Kubernetes."""
