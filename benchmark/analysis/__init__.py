"""From records to numbers with their uncertainty: cells, paired differences, published claims."""
