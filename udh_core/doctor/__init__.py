"""What this installation has, what it lacks, and what to do about each. No network is asked, torch is not loaded."""
