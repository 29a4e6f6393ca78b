"""Tables, figures and provenance of finished runs; sees files, never networks."""
