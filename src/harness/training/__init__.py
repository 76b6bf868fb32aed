"""LoRA fine-tuning that resumes bit for bit."""
