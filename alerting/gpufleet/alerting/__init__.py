"""Rules, health and mail: values in, verdicts out. Imports no other part."""
