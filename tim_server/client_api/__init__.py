"""The Client-Server API: one module per OpenAPI file of the specification."""
