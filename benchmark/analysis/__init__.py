"""From records to tables of numbers with their uncertainty."""
