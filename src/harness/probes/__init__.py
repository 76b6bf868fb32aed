"""What the adapter remembers, from two teacher-forced passes."""
