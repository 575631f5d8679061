"""The champion of a study: the model that the gate let in last, one pointer in the store with a history."""
