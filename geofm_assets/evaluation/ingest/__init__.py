"""From an rslearn dataset to a registered evaluation."""
