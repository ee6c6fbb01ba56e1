"""Edge inference runtime for vehicles and IoT sensors."""
