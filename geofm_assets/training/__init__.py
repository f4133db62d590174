"""Fine-tuning: experiments, the data they see, training with Lightning, predictions."""
