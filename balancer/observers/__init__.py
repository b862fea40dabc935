"""The side loops: each watches one outside thing and reports it to the core. None sits in a request's way."""
