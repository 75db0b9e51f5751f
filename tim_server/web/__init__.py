"""aiohttp glue: routing, authentication, rate limits, request and response models, errors."""
