"""WorldCereal reference collections."""
