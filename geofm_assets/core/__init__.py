"""Settings, store, hashes, schemas, errors. No domain knowledge lives here."""
