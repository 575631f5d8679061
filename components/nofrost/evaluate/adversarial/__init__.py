"""An adversarial suite: its plan, what it measures, and the alarms that the numbers and the model raise."""
