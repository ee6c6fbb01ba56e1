"""The hardware-in-the-loop harness: boards, faults on the wire and on the host, scenarios, measurements, reports. Imports no `edge`."""
