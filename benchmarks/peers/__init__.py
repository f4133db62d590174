"""What the platform is measured against: plain, faithful, and never changed to suit a figure."""
